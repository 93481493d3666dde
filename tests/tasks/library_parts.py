"""Some packages of the real standard library: building tasks from all of it takes the suite too long."""

import shutil
import sysconfig
from pathlib import Path

PACKAGES = ("json", "html", "concurrent", "argparse.py", "ast.py", "zipfile.py", "csv.py", "shlex.py", "textwrap.py", "pdb.py", "cmd.py",
            "queue.py", "uuid.py")  # fmt: skip


def copy_library(folder: Path) -> None:
    real = Path(sysconfig.get_paths()["stdlib"])
    folder.mkdir()
    for name in PACKAGES:
        source = real / name if (real / name).exists() else real / name.removesuffix(".py")  # zipfile is a package from 3.12 on
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / source.name)
