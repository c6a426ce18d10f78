import resource

import pytest

from quadrat.errors import ResultsError
from quadrat.files.log import job_log, keep_failure, read_failure


@pytest.fixture
def path(tmp_path):
    return tmp_path / "job.log"


def test_line_is_shown_and_kept(path, capsys):
    with job_log(path) as log:
        log("3 images are ü")
        assert path.read_text() == "3 images are ü\n"
    assert capsys.readouterr().err == "3 images are ü\n"


def test_error_of_quadrat_ends_the_job_with_its_line_alone(path, capsys):
    with pytest.raises(SystemExit) as caught, job_log(path):
        raise ResultsError("a.parquet: is not whole")
    assert caught.value.code == 1
    assert path.read_text() == "quadrat: a.parquet: is not whole\n"
    assert read_failure(path) == "a.parquet: is not whole"
    assert capsys.readouterr().err == ""  # the terminal of the run shows it, wherever the job ran


def test_unexpected_error_ends_the_job_with_its_traceback_and_a_line_in_the_log(path):
    def fail(log):
        log("begun")
        raise ZeroDivisionError("division by zero")

    with pytest.raises(SystemExit), job_log(path) as log:
        fail(log)
    assert path.read_text().startswith("begun\nTraceback")
    assert read_failure(path) == "ZeroDivisionError: division by zero"


def test_reason_is_found_though_something_was_printed_without_an_end_before_it_and_after_it(path):
    path.write_text("quadrat: of an earlier part\nloading 50%")
    keep_failure(path, "a.tif: truncated")
    with path.open("a") as file:
        file.write("a thread ends")
    assert read_failure(path) == "a.tif: truncated"


def test_log_without_a_failure_has_no_reason(path, tmp_path):
    path.write_bytes(b"quadrat 0.1.0\nmy model says: quadrat: \xff\n")
    assert read_failure(path) == read_failure(tmp_path / "missing.log") == ""


def test_password_of_a_url_is_not_in_the_log(path):
    with pytest.raises(SystemExit), job_log(path):
        raise ZeroDivisionError("https://user:secret@x.org/a.tif: gone")
    assert "https://***@x.org/a.tif: gone" in path.read_text()


def test_log_is_made_anew(path):
    path.write_text("of the last run\n")
    with job_log(path):
        pass
    assert path.read_text() == ""


def test_log_that_cannot_be_written_ends_the_job_with_a_line(tmp_path):
    with pytest.raises(SystemExit, match=r"^quadrat: .*/nowhere/job.log: cannot be written: No such file"):
        job_log(tmp_path / "nowhere/job.log").__enter__()


def test_line_is_shown_though_the_disk_of_the_log_is_full(path, capsys):
    def fail(log):
        log("warning: 3 images")
        raise ResultsError("a.parquet: cannot be written")

    sizes = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, sizes[1]))
    try:
        with pytest.raises(SystemExit), job_log(path) as log:
            fail(log)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, sizes)
    assert path.read_bytes() == b""
    assert capsys.readouterr().err == "warning: 3 images\nquadrat: a.parquet: cannot be written\n"
