import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from regard.base.errors import RegardError
from regard.train.checkpoint import Checkpoint, CheckpointFolder, average, workplace


def checkpoint(value: float = 1.0, size: int = 3) -> Checkpoint:
    tensors = {"random": torch.arange(5, dtype=torch.uint8), "moment": torch.full((2, 2), value / 3)}
    return Checkpoint(
        {"w": torch.full((size,), value)}, tensors, {"step": 1, "share": 0.1, "history": [{"loss": 1 / 3}]}
    )


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "training")


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """As on a disk that is full: a file cannot grow beyond 20,000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_saved_is_loaded_bit_for_bit(folder: CheckpointFolder) -> None:
    assert folder.load() is None
    saved = checkpoint(1 / 7)
    folder.save(3, saved)
    loaded = folder.load()
    assert loaded is not None
    assert loaded.state == saved.state
    for mine, theirs in ((saved.weights, loaded.weights), (saved.tensors, loaded.tensors)):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_newest_counts(folder: CheckpointFolder) -> None:
    for step in (9, 100, 20):
        folder.save(step, checkpoint(step))
    assert folder.steps() == [9, 20, 100]
    loaded = folder.load()
    assert loaded is not None
    assert loaded.weights["w"][0] == 100


def test_what_is_no_complete_checkpoint_is_not_seen(folder: CheckpointFolder) -> None:
    folder.save(2, checkpoint())
    (folder.folder / "step-00000005").mkdir()
    (folder.folder / "step-final").mkdir()
    (folder.folder / "step-final" / "state.json").write_text("{}")
    assert folder.steps() == [2]


def test_the_kept_ones_are_those_of_a_run_that_was_never_interrupted(folder: CheckpointFolder) -> None:
    def save(*steps: int) -> list[int]:
        for step in steps:
            folder.save(step, checkpoint(step))
            folder.prune(2, 10, [])
        return folder.steps()

    assert save(10, 20, 30) == [20, 30]
    assert save(37) == [20, 30, 37]  # interrupted
    assert save(38) == [20, 30, 38]  # and again
    assert save(40) == [30, 40]
    assert save(44) == [30, 40, 44]  # the end of the run


def test_the_best_are_kept_until_a_checkpoint_knows_better(folder: CheckpointFolder) -> None:
    for step in (1, 2, 3):
        folder.save_best(step, {"w": torch.full((2,), float(step))})
    assert folder.average_best([1, 3])["w"].tolist() == [2, 2]
    folder.prune(1, 10, [2, 3])
    assert sorted(path.name for path in (folder.folder / "best").iterdir()) == ["step-00000002", "step-00000003"]


def test_average_is_the_mean_in_float32() -> None:
    models = [{"w": torch.tensor([value, 1e8])} for value in (0.1, 0.2, 0.6)]
    mean = average(models)["w"]
    assert mean.dtype == torch.float32
    torch.testing.assert_close(mean, torch.tensor([0.3, 1e8]))


@pytest.mark.parametrize("name", ["weights.safetensors", "state.safetensors", "state.json"])
def test_damage_is_named_and_the_way_out(folder: CheckpointFolder, name: str) -> None:
    folder.save(1, checkpoint(1.0))
    folder.save(2, checkpoint(2.0))
    path = folder.path(2) / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(RegardError, match=r"step-00000002 is damaged .*Remove it to go on from the one before"):
        folder.load()


def test_another_version_is_refused(folder: CheckpointFolder) -> None:
    folder.save(1, checkpoint())
    path = folder.path(1) / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(RegardError, match="another version of Regard"):
        folder.load()


@pytest.mark.usefixtures("small_files_only")
def test_a_full_disk_is_an_error_and_the_checkpoint_before_stays(folder: CheckpointFolder) -> None:
    folder.save(1, checkpoint(1.0))
    with pytest.raises(RegardError, match=r"cannot write .*step-00000002: .*Free some space"):
        folder.save(2, checkpoint(2.0, size=10_000))
    with pytest.raises(RegardError, match="Free some space"):
        folder.save_best(2, checkpoint(2.0, size=10_000).weights)
    loaded = folder.load()
    assert loaded is not None
    assert loaded.weights["w"][0] == 1
    assert [path.name for path in folder.folder.iterdir() if path.name != "best"] == ["step-00000001"]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RegardError, match="choose a folder that can be written"):
        CheckpointFolder(tmp_path / "file" / "training").save(1, checkpoint())
    with pytest.raises(RegardError, match="choose a folder that can be written"), workplace(tmp_path / "file" / "run"):
        pass


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    for place in ("", "data", "training", "training/best"):
        (tmp_path / "run" / place / ".tmp-folder").mkdir(parents=True)
        (tmp_path / "run" / place / ".tmp-folder" / "part").write_text("x")
        (tmp_path / "run" / place / ".tmp-file").write_text("x")
    (tmp_path / "run" / "training" / "kept").write_text("x")
    with workplace(tmp_path / "run"):
        assert not list((tmp_path / "run").rglob(".tmp-*"))
    assert (tmp_path / "run" / "training" / "kept").exists()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with workplace(tmp_path / "run"):
        (tmp_path / "run" / ".tmp-mine").write_text("x")
        with pytest.raises(RegardError, match="another process is training in"), workplace(tmp_path / "run"):
            pass
        assert (tmp_path / "run" / ".tmp-mine").exists()
    with workplace(tmp_path / "run"):
        pass


def test_a_run_that_came_to_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), workplace(tmp_path / "runs" / "mine"):
        raise KeyError
    assert not (tmp_path / "runs" / "mine").exists()
