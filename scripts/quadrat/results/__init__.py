"""Results: from predictions to files, and back."""
