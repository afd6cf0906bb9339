"""The sandbox's tests once more, as an ordinary user, when this run is root's.

In a mount namespace of its own the interpreter, its packages and this checkout are put where that user may read them;
they may lie in root's home.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UID = 54321

SCRIPT = """
set -e
mount --bind "$BASE" python
mount --bind "$SITE" site
mount --bind "$CHECKOUT" checkout
cd checkout
exec setpriv --reuid {uid} --regid {uid} --clear-groups --inh-caps=-all --bounding-set=-all \
    env -i HOME="$PLACE/home" TMPDIR="$PLACE/home" PATH=/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 \
    LD_LIBRARY_PATH="$PLACE/python/lib" PYTHONPATH="$PLACE/site:$PLACE/checkout" \
    "$PLACE/python/bin/$PYTHON" -m pytest -q -p no:cacheprovider "$@"
"""


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can become another user")
def test_all_holds_for_an_ordinary_user() -> None:
    missing = [program for program in ("unshare", "setpriv", "mount") if not shutil.which(program)]
    if missing:
        pytest.skip(f"becoming another user takes {', '.join(missing)}")
    # Not below pytest's own temporary folder: that one is root's alone.
    place = Path(subprocess.check_output(["mktemp", "--directory"], text=True).strip())
    try:
        place.chmod(0o755)
        for name in ("python", "site", "checkout", "home"):
            (place / name).mkdir()
        os.chown(place / "home", UID, UID)
        ran = subprocess.run(
            [
                *("unshare", "--mount", "--propagation", "private"),
                *("sh", "-c", SCRIPT.format(uid=UID), "sh"),
                *("tests/tools/test_sandbox.py", "tests/tools/test_sandbox_hostile.py"),
            ],
            cwd=place,
            env={
                **os.environ,
                "BASE": sys.base_prefix,
                "SITE": sysconfig.get_path("purelib"),
                "CHECKOUT": str(ROOT),
                "PLACE": str(place),
                "PYTHON": f"python{sys.version_info.major}.{sys.version_info.minor}",
            },
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    finally:
        shutil.rmtree(place)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    assert re.search(r"\b\d+ passed", ran.stdout), ran.stdout
    assert len(re.findall("^SKIPPED", ran.stdout, re.MULTILINE)) <= 1, ran.stdout  # what only root has to fear
