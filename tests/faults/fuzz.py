"""`python fuzz.py <reader> <corpus folder> <options>`: one reader of hostile.py under atheris (libFuzzer for Python).

The options are libFuzzer's, such as `-max_total_time=<seconds>` or `-runs=<number>`. A process of its own: libFuzzer
ends it, with the defect's traceback where there is one.
"""

import resource
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mlproject", "yaml", "openpyxl", "zipfile", "PIL", "json"]):
    import hostile

# a reader that wants more memory than this, or more than ten seconds, is a defect as well
MEMORY, SECONDS, LONGEST = 8 * 2**30, 10, 16_384


def main() -> None:
    reader, corpus, *given = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number, content in enumerate(hostile.seeds(reader)):
        (Path(corpus) / f"seed-{number}").write_bytes(content)
    folder = Path(tempfile.mkdtemp(dir=corpus, prefix="work-"))
    options = [
        *given,
        f"-timeout={SECONDS}",
        f"-max_len={LONGEST}",
        f"-artifact_prefix={folder}/",
    ]
    atheris.Setup(
        [sys.argv[0], *options, "-print_final_stats=1", corpus],
        lambda content: hostile.READERS[reader](content, folder),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
