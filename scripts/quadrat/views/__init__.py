"""Views: results as pictures and pages."""
