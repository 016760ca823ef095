"""The pages that are read from the source are current, and say what the commands say."""

import reference
import write_docs

from mlproject.config import PROJECT_ROOT


def test_generated_pages_are_current() -> None:
    stale = [
        str(path)
        for path, text in write_docs.generated().items()
        if not (PROJECT_ROOT / path).is_file() or (PROJECT_ROOT / path).read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run `python tools/write_docs.py` and look at the difference"
    pages = {path.name for path in (PROJECT_ROOT / reference.FOLDER).glob("*.md")}
    assert pages == {"index.md"} | {f"{name}.md" for name in reference.ENTRY_POINTS}


def test_a_page_names_every_option_with_default_and_range() -> None:
    page = reference.page("eval_classifier")
    assert "| `bootstrap` | bootstrap draws by subject | `2000` | 100 to 1,000,000 |" in page, "of eval.yaml"
    assert "| `classifier`, `checkpoint` | classifier: a folder or file, runs:/&lt;id> " in page
    for name in reference.ENTRY_POINTS:
        page = reference.page(name)
        for option in reference.options_of(reference.command_of(name)):
            assert f"`{option.spellings[0].removeprefix('--')}`" in page
