# What `sanitize` and `emulate` share; they source it at the project's root. It changes nothing in the checkout.

# need COMMAND PACKAGE ...: ends the script with the names of the Debian packages whose commands or files are missing.
need() {
    local missing=()
    while [ $# -gt 0 ]; do
        [ -e "$1" ] || command -v "$1" > /dev/null || missing+=("$2")
        shift 2
    done
    if [ ${#missing[@]} -gt 0 ]; then
        echo "${0##*/} $mode needs what is not installed here; Debian: apt-get install ${missing[*]}" >&2
        exit 3
    fi
}

# The Python that builds, with its headers and venv.
need_python() {
    need python3 python3
    need "$(python3 -c "import sysconfig; print(sysconfig.get_path('include') + '/Python.h')")" python3-dev
    python3 -c "import ensurepip" 2> /dev/null || need "" python3-venv
}

# scratch [FOLDER]: goes to a copy of the tracked files in FOLDER/tree, which has a virtual environment beside it.
# Without FOLDER that is a temporary one, which goes with the script. What the tests leave behind is in it too.
scratch() {
    work=${1:-$(mktemp -d)}
    [ -n "${1:-}" ] || trap 'rm -rf "$work"' EXIT
    rm -rf "$work/tree" "$work/tmp" # no timestamp would tell that flags have changed
    mkdir -p "$work/tree" "$work/tmp"
    work=$(cd "$work" && pwd)
    git ls-files -z | tar --null -T - -c | tar -x -C "$work/tree"
    cd "$work/tree"
    [ -d "$work/venv" ] || python3 -m venv "$work/venv"
    export PATH="$work/venv/bin:$PATH" TMPDIR="$work/tmp" PYTHONDONTWRITEBYTECODE=1
    pip install --quiet cython "setuptools>=77" wheel
}

# The tests' own needs; --no-deps keeps the package's other extras away.
test_packages=("numpy>=1.26" tqdm "pytest>=8.2" hypothesis scipy threadpoolctl)
