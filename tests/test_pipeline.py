"""Stage keys change with everything that decides a result, and with nothing else; work folders belong to one."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlproject import pipeline
from mlproject.errors import UserError

JSON = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans(), max_size=4)


@given(JSON, JSON)
def test_a_key_is_the_same_exactly_when_its_inputs_are(a, b) -> None:
    # JSON knows no difference between True and 1 in Python's sense, but writes them differently
    same = repr(sorted(a.items())) == repr(sorted(b.items()))
    assert (pipeline.stage_key("train_gan", gan=a) == pipeline.stage_key("train_gan", gan=b)) == same


def test_the_order_of_a_configuration_does_not_count_but_stage_and_version_do(monkeypatch) -> None:
    key = pipeline.stage_key("train_gan", gan={"a": 1, "b": 2})
    assert key == pipeline.stage_key("train_gan", gan={"b": 2, "a": 1})
    assert key != pipeline.stage_key("train_classifier", gan={"a": 1, "b": 2})
    monkeypatch.setitem(pipeline.STAGE_VERSIONS, "train_gan", 1_000)
    assert key != pipeline.stage_key("train_gan", gan={"a": 1, "b": 2})


@given(st.lists(st.text(alphabet="abc123-", min_size=1, max_size=4), unique=True, min_size=1), st.randoms())
def test_subjects_are_a_set(subjects, random) -> None:
    shuffled = subjects.copy()
    random.shuffle(shuffled)
    assert pipeline.subjects_digest(subjects) == pipeline.subjects_digest(shuffled)
    assert pipeline.subjects_digest(subjects) != pipeline.subjects_digest([*subjects, "another"])


def test_the_folder_goes_when_the_work_is_done_and_stays_when_it_fails(tmp_path) -> None:
    with pytest.raises(RuntimeError), pipeline.work_folder(tmp_path, "train_gan", "k" * 64) as folder:
        (folder / "checkpoint").write_text("half way")
        raise RuntimeError
    with pipeline.work_folder(tmp_path, "train_gan", "k" * 64) as again:
        assert again == folder
        assert (again / "checkpoint").read_text() == "half way"
    assert not folder.exists()


def test_a_second_process_on_the_same_work_is_refused_and_another_key_is_not(tmp_path) -> None:
    code = (
        "import sys; from mlproject import pipeline\n"
        "with pipeline.work_folder(sys.argv[1], 'train_gan', 'k' * 64): print('in', flush=True); sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=pipeline.__file__.rsplit("/", 2)[0],
    )  # fmt: skip
    try:
        assert other.stdout.readline() == "in\n"
        with (
            pytest.raises(UserError, match="another process runs the same train_gan"),
            pipeline.work_folder(tmp_path, "train_gan", "k" * 64),
        ):
            pass
        with pipeline.work_folder(tmp_path, "train_gan", "o" * 64):
            pass
    finally:
        other.communicate("")
    # a lock ends with its process, however that ends
    with pipeline.work_folder(tmp_path, "train_gan", "k" * 64):
        pass


def test_an_unwritable_place_is_a_user_error(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"), pipeline.work_folder(tmp_path / "file", "train_gan", "k" * 64):
        pass
