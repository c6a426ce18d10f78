import json
import os

import pytest

from quadrat.files.hashing import hash_file, join_hashes
from quadrat.files.sources import find_sources
from quadrat.files.world_files import find_world_file
from quadrat.plan import content_ids
from quadrat.plan.content_ids import ContentLog, hash_known, identify
from quadrat.plan.found import FoundImage


def status(image):
    return image.files[image.path]


def found_now(filename, path):
    """Find an image as the inventory would."""
    others = [*find_sources(path).files, *filter(None, [find_world_file(path)])]
    return FoundImage(filename, path, {name: os.stat(name) for name in (path, *others)})


@pytest.fixture
def log_path(tmp_path):
    return tmp_path / "results/.quadrat/contents.jsonl"


@pytest.fixture
def put(images):
    """Return a function that writes a file and finds it as the inventory would."""

    def write(filename, content=b"pixels"):
        path = images / filename
        path.write_bytes(content)
        return found_now(filename, str(path))

    return write


@pytest.fixture
def hashed(monkeypatch):
    """Return the list of files that are hashed from here on."""
    paths = []

    def hash_and_note(path):
        paths.append(os.path.basename(path))
        return hash_file(path)

    monkeypatch.setattr(content_ids, "hash_file", hash_and_note)
    return paths


@pytest.fixture
def ids(log_path):
    """Return a function from found images to their content ids, with the log that it left last time."""

    def again(image):
        return found_now(image.filename, image.path) if os.path.exists(image.path) else image

    def find(*found, results=None, merged=None, verify="content", announce=lambda line: None):
        return identify(
            [again(image) for image in found],
            lambda filename: (results or {}).get(filename, []),
            merged or {},
            ContentLog(log_path),
            verify,
            announce,
        )

    return find


def touched(image, ns=0):
    """Set a new modification time of the file of an image, and find it again."""
    os.utime(image.path, ns=(ns, ns))
    return found_now(image.filename, image.path)


def test_image_never_seen_is_named_by_size_and_time_and_not_read(put, ids, hashed):
    image = put("a.tif")
    assert ids(image) == {"a.tif": f"6-{status(image).st_mtime_ns}"}
    assert hashed == []


def test_touched_image_whose_merged_result_has_its_hash_keeps_its_id_without_a_look_at_results(put, ids):
    image = put("a.tif")
    ids(image)
    known = {"a.tif": ["the id", hash_file(image.path)]}
    assert ids(touched(image), results={"a.tif": ["no such result"]}, merged=known) == {"a.tif": "the id"}


def test_unchanged_image_keeps_its_id_and_is_not_read(put, ids, hashed):
    image = put("a.tif")
    assert ids(image) == ids(image)
    assert hashed == []


def test_touched_image_keeps_the_id_of_the_result_made_from_its_bytes(put, ids, write_result):
    image = put("a.tif")
    first = ids(image)["a.tif"]
    result = write_result("a.tif", [1.0], content_id=first, content_hash=hash_file(image.path))
    assert ids(touched(image), results={"a.tif": [result]}) == {"a.tif": first}


def test_touched_image_is_read_once(put, ids, write_result, hashed):
    image = put("a.tif")
    first = ids(image)["a.tif"]
    result = write_result("a.tif", [1.0], content_id=first, content_hash=hash_file(image.path))
    again = touched(image)
    for _ in range(3):
        ids(again, results={"a.tif": [result]})
    assert hashed == ["a.tif"]


def test_replaced_image_is_named_by_its_bytes(put, ids, write_result):
    image = put("a.tif")
    first = ids(image)["a.tif"]
    result = write_result("a.tif", [1.0], content_id=first, content_hash=hash_file(image.path))
    replaced = touched(put("a.tif", b"other pixels"), ns=1)
    assert ids(replaced, results={"a.tif": [result]}) == {"a.tif": hash_file(image.path)}


def test_image_whose_log_was_lost_is_recognised_by_its_results(put, ids, write_result, log_path):
    image = put("a.tif")
    first = ids(image)["a.tif"]
    result = write_result("a.tif", [1.0], content_id=first, content_hash=hash_file(image.path))
    log_path.unlink()
    assert ids(touched(image), results={"a.tif": [result]}) == {"a.tif": first}


def test_broken_result_does_not_keep_an_image_from_being_named(put, ids, tmp_path):
    image = put("a.tif")
    ids(image)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1")
    assert ids(touched(image), results={"a.tif": [str(broken)]}) == {"a.tif": hash_file(image.path)}


def test_image_that_cannot_be_read_is_named_all_the_same(put, ids):
    image = put("a.tif")
    ids(image)
    changed = touched(image)
    os.unlink(image.path)
    assert ids(changed) == {"a.tif": "6-0"}


def test_verify_stat_reads_nothing_and_trusts_size_and_time(put, ids, write_result, hashed):
    image = put("a.tif")
    first = ids(image, verify="stat")["a.tif"]
    result = write_result("a.tif", [1.0], content_id=first, content_hash=hash_file(image.path))
    os.chmod(image.path, 0o600)
    same = found_now(image.filename, image.path)
    assert ids(same, verify="stat", results={"a.tif": [result]}) == {"a.tif": first}
    assert ids(touched(image), verify="stat", results={"a.tif": [result]}) == {"a.tif": "6-0"}
    assert hashed == []


def test_verify_stat_keeps_the_id_that_a_hash_gave(put, ids):
    image = put("a.tif")
    ids(image)
    changed = touched(put("a.tif", b"other pixels"), ns=1)
    named = ids(changed)
    os.chmod(image.path, 0o600)
    same = found_now(image.filename, image.path)
    assert ids(same, verify="stat") == named


def test_many_changed_images_are_announced(put, ids):
    found = [put(f"{index}.tif") for index in range(3)]
    ids(*found)
    lines = []
    ids(*[touched(image) for image in found], announce=lines.append)
    assert lines == ["read 3 of 3 files that were touched or replaced"]


def test_line_that_a_kill_cut_in_half_is_ignored_and_the_others_hold(put, ids, log_path, hashed):
    found = [put("a.tif"), put("ü.tif")]
    first = ids(*found)
    whole = log_path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for end in range(len(lines[0]), len(whole)):
        log_path.write_bytes(whole[:end])
        assert ids(*found) == first
        assert ContentLog(log_path).get("ü.tif") is not None
    assert hashed == []


@pytest.mark.parametrize("line", ["5", "null", '["a.tif", 5, "x"]', '["a.tif"]', "[" * 10_000])
def test_line_that_another_wrote_is_ignored(put, ids, log_path, line):
    image = put("a.tif")
    first = ids(image)
    log_path.write_text(f"{log_path.read_text()}{line}\n")
    assert ids(image) == first


def test_log_of_lines_has_what_a_person_can_read(put, ids, log_path):
    image = put("a.tif")
    ids(image)
    ((name, found, content_id),) = [json.loads(line) for line in log_path.read_text().splitlines()]
    assert name == "a.tif"
    assert found == [6, status(image).st_mtime_ns, status(image).st_ctime_ns, status(image).st_ino]
    assert content_id == f"6-{status(image).st_mtime_ns}"


def test_log_does_not_grow_without_bound(put, ids, log_path):
    image = put("a.tif")
    for ns in range(150):
        ids(touched(image, ns), verify="stat")
    assert len(log_path.read_bytes().splitlines()) < 110
    assert ids(touched(image, 149), verify="stat") == {"a.tif": "6-149"}


def test_nothing_new_leaves_the_log_alone(put, ids, log_path):
    image = put("a.tif")
    ids(image)
    os.utime(log_path, ns=(0, 0))
    ids(image)
    assert log_path.stat().st_mtime_ns == 0


def test_model_file_is_hashed_once_until_it_changes(tmp_path, log_path, hashed):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"weights")
    log = ContentLog(log_path)
    first = hash_known(str(model), log)
    assert first == hash_known(str(model), ContentLog(log_path)) == hash_file(model)
    assert hashed == ["model.onnx"]
    other = tmp_path / "other.onnx"
    other.write_bytes(b"WEIGHTS")
    os.utime(other, ns=(0, 0))
    os.replace(other, model)
    assert hash_known(str(model), log) == hash_file(model) != first


def test_touched_model_file_keeps_its_hash(tmp_path, log_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"weights")
    first = hash_known(str(model), ContentLog(log_path))
    os.utime(model, ns=(0, 0))
    assert hash_known(str(model), ContentLog(log_path)) == first


@pytest.fixture
def put_vrt(images, put):
    """Return a function that writes a VRT of the files that it names, and finds it as the inventory would."""

    def write(filename, *sources):
        names = (f'<SourceFilename relativeToVRT="1">{source}</SourceFilename>' for source in sources)
        return put(filename, f"<VRTDataset>{''.join(names)}</VRTDataset>".encode())

    return write


def test_unchanged_vrt_keeps_its_id_and_no_source_is_read(put, put_vrt, ids, hashed):
    put("pixels.tif")
    image = put_vrt("a.vrt", "pixels.tif")
    assert ids(image) == ids(image)
    assert hashed == []


@pytest.mark.parametrize("filename", ["outer.vrt", "inner.vrt"])
def test_vrt_whose_source_was_replaced_is_named_by_the_bytes_of_all(
    put, put_vrt, ids, write_result, filename
):
    before = status(put("pixels.tif"))
    images = {"inner.vrt": put_vrt("inner.vrt", "pixels.tif"), "outer.vrt": put_vrt("outer.vrt", "inner.vrt")}
    first = ids(images[filename])[filename]
    result = write_result(filename, [1.0], content_id=first)
    other = touched(put("pixels.tif", b"PIXELS"), ns=before.st_mtime_ns)
    assert status(other).st_size == before.st_size
    second = ids(images[filename], results={filename: [result]})[filename]
    put("pixels.tif", b"pIXELS")
    third = ids(images[filename], results={filename: [result]})[filename]
    assert len({first, second, third, hash_file(images[filename].path)}) == 4


def test_vrt_whose_source_was_touched_keeps_its_id(put, put_vrt, ids, write_result, hashed):
    pixels, image = put("pixels.tif"), put_vrt("a.vrt", "pixels.tif")
    first = ids(image)["a.vrt"]
    content_hash = join_hashes([hash_file(image.path), hash_file(pixels.path)])
    result = write_result("a.vrt", [1.0], content_id=first, content_hash=content_hash)
    touched(pixels)
    for _ in range(2):
        assert ids(image, results={"a.vrt": [result]}) == {"a.vrt": first}
    assert hashed == ["a.vrt", "pixels.tif"]


def test_vrt_whose_missing_source_arrives_gets_another_id(put, put_vrt, ids, write_result):
    image = put_vrt("a.vrt", "pixels.tif")
    first = ids(image)["a.vrt"]
    result = write_result(
        "a.vrt", failure={"message": "gone"}, content_id=first, content_hash=hash_file(image.path)
    )
    put("pixels.tif")
    second = ids(image, results={"a.vrt": [result]})["a.vrt"]
    assert second != first
    os.unlink(os.path.join(os.path.dirname(image.path), "pixels.tif"))
    assert ids(image, results={"a.vrt": [result]}) == {"a.vrt": first}


def test_verify_stat_notices_a_source_of_other_size_or_time(put, put_vrt, ids, hashed):
    pixels, image = put("pixels.tif"), put_vrt("a.vrt", "pixels.tif")
    first = ids(image, verify="stat")
    os.chmod(pixels.path, 0o600)
    assert ids(image, verify="stat") == first
    touched(pixels)
    assert ids(image, verify="stat") != first
    assert hashed == []


def test_slide_whose_companion_was_replaced_is_named_by_the_bytes_of_all(images, put, ids, write_result):
    slide = put("a.mrxs", b"preview")
    (images / "a").mkdir()
    companions = [put("a/Data0000.dat"), put("a/Slidedat.ini")]
    first = ids(slide)["a.mrxs"]
    result = write_result("a.mrxs", [1.0], content_id=first)
    assert ids(slide) == {"a.mrxs": first}
    put("a/Data0000.dat", b"PIXELS")
    second = ids(slide, results={"a.mrxs": [result]})["a.mrxs"]
    assert second == join_hashes([hash_file(image.path) for image in (slide, *companions)])


def test_world_file_that_appears_changes_and_goes_makes_another_image_each_time(put, ids, write_result):
    image = put("a.tif")
    alone = ids(image)["a.tif"]
    results = {"a.tif": [write_result("a.tif", [1.0], content_id=alone, content_hash=hash_file(image.path))]}
    put("a.tfw", b"10")
    placed = ids(image, results=results)["a.tif"]
    world_file = image.path.replace(".tif", ".tfw")
    assert placed == join_hashes([hash_file(image.path), hash_file(world_file)])
    before = os.stat(world_file)
    put("a.tfw", b"20")
    os.utime(world_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ids(image, results=results)["a.tif"] not in (alone, placed)
    os.unlink(world_file)
    assert ids(image, results=results) == {"a.tif": alone}


def test_touched_world_file_changes_no_id(put, ids, write_result, hashed):
    put("a.tfw", b"10")
    image = put("a.tif")
    first = ids(image)["a.tif"]
    content_hash = join_hashes([hash_file(path) for path in image.files])
    result = write_result("a.tif", [1.0], content_id=first, content_hash=content_hash)
    os.utime(image.path.replace(".tif", ".tfw"), ns=(0, 0))
    assert ids(image, results={"a.tif": [result]}) == {"a.tif": first}
    assert hashed == ["a.tif", "a.tfw"]


@pytest.fixture
def changed(put, ids):
    """Return three images whose bytes were looked at once, and are to be looked at again."""
    images = [put(f"{name}.tif") for name in "abc"]
    ids(*images)
    return [touched(put(image.filename, b"other pixels"), ns=1) for image in images]


def test_images_that_are_hashed_in_several_batches_are_reported_once(changed, ids, monkeypatch):
    monkeypatch.setattr(content_ids, "BATCH_BYTES", 1)
    lines = []
    found = ids(*changed, announce=lines.append)
    assert found == {image.filename: hash_file(image.path) for image in changed}
    assert lines == ["read 3 of 3 files that were touched or replaced"]


def test_hashes_that_were_saved_before_planning_was_killed_are_not_made_again(
    changed, ids, hashed, monkeypatch
):
    noting = content_ids.hash_file

    def stop_at_the_last(path):
        if path == changed[2].path:
            raise KeyboardInterrupt
        return noting(path)

    monkeypatch.setattr(content_ids, "BATCH_BYTES", 1)
    monkeypatch.setattr(content_ids, "SECONDS_BETWEEN_SAVES", -1)
    monkeypatch.setattr(content_ids, "hash_file", stop_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        ids(*changed)
    monkeypatch.setattr(content_ids, "hash_file", noting)
    hashed.clear()
    assert ids(*changed) == {image.filename: hash_file(image.path) for image in changed}
    assert hashed == ["c.tif"]


def test_what_is_recorded_already_is_not_written_again(log_path):
    log = ContentLog(log_path)
    log.record([("a.tif", (1, 2, 3, 4), "id")])
    size = log_path.stat().st_size
    log.record([("a.tif", (1, 2, 3, 4), "id")])
    assert log_path.stat().st_size == size
