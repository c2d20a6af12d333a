"""Build of the compiled core: one static library of micro-kernels per instruction set, then the Cython modules.

Every instruction set is a stub of its own (csrc/kernels_<isa>.c), because setuptools compiles a source file once and
reuses the object, whatever flags a second library asks for. FASTCONV_DEBUG=1 turns Cython's checks on,
FASTCONV_OPENMP=0 builds without threads, FASTCONV_LOWERED=1 compiles the avx512 text for AVX2 (a slow build, which
tests its 16 lanes where no CPU has AVX-512). The flags of CFLAGS have the last word, and -g there keeps the symbols.
"""

import glob
import os
import platform
import subprocess
import sys
import tempfile

from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext

CORE = "src/fastconv/_core"
DEBUG = os.environ.get("FASTCONV_DEBUG") == "1"
LOWERED = os.environ.get("FASTCONV_LOWERED") == "1"
# A cross build names its target in CPython's own variable, as in linux-aarch64.
MACHINE = os.environ.get("_PYTHON_HOST_PLATFORM", platform.machine()).rpartition("-")[2].lower()
X86 = MACHINE in ("x86_64", "amd64")
ARM = MACHINE in ("aarch64", "arm64")

# Contraction lets a*b + c be one fused operation; nothing else about the arithmetic may be changed, so no fast-math,
# and nothing may depend on the machine that builds, so no native tuning.
CFLAGS = ["-O3", "-std=c11", "-ffp-contract=fast", "-fno-math-errno", "-fvisibility=hidden", "-fPIC"]
CFLAGS += ["-Wall", "-Wextra"]
AVX2 = ["-mavx2", "-mfma"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]
ISA_FLAGS = {
    "baseline": ["-DFC_LOWERED"] if LOWERED else [],
    **({"avx2": AVX2, "avx512": [*AVX2, "-Wno-psabi"] if LOWERED else AVX512} if X86 else {}),
    **({"neon": []} if ARM else {}),
}
USER_FLAGS = os.environ.get("CFLAGS", "").split()
STRIP = [] if DEBUG or "-g" in USER_FLAGS else ["-s"]
HEADERS = sorted(glob.glob(f"{CORE}/csrc/*.h") + glob.glob(f"{CORE}/*.h"))
SOURCES = sorted(glob.glob(f"{CORE}/csrc/*.c"))
MODULES = (
    "_runtime",
    "_conv_direct",
    "_conv_grad_kernel",
    "_conv_depthwise",
    "_conv_depthwise_grad",
    "_conv_im2col",
    "_conv_winograd",
    "_conv_pooled",
    "_conv_winners",
    "_pooling",
    "_copies",
    "_resampling",
    "_elementwise",
    "_filters",
    "_program",
)


def openmp_flags(compiler):
    """The compiler's flag for OpenMP, or nothing where a program that uses it does not build and link."""
    if os.environ.get("FASTCONV_OPENMP") == "0":
        return []
    program = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "probe.c")
        with open(source, "w") as file:
            file.write(program)
        command = [*compiler, "-fopenmp", source, "-o", os.path.join(folder, "probe")]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if done.returncode == 0:
        return ["-fopenmp"]
    sys.stderr.write("fastconv: this compiler has no OpenMP; building for one thread.\n")
    return []


def require_compiler(compiler):
    try:
        subprocess.run([compiler[0], "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit(
            f"fastconv: the C compiler {compiler[0]!r} was not found; install one (Debian/Ubuntu: apt install gcc; "
            "Fedora: dnf install gcc; macOS: xcode-select --install) or name yours with CC=..."
        ) from None


class BuildLibraries(build_clib):
    def build_libraries(self, libraries):
        require_compiler(self.compiler.compiler)
        super().build_libraries(libraries)


class BuildExtensions(build_ext):
    def build_extensions(self):
        require_compiler(self.compiler.compiler)
        flags = openmp_flags(self.compiler.compiler)
        for extension in self.extensions:
            extension.extra_compile_args += flags
            extension.extra_link_args += flags
        super().build_extensions()

    def run(self):
        # An in-place or editable build asks for the extensions alone; they link with the libraries.
        self.run_command("build_clib")
        super().run()


def library(isa, flags):
    sources = [f"{CORE}/csrc/kernels_{isa}.c"] + ([f"{CORE}/csrc/cpu.c"] if isa == "baseline" else [])
    return f"fc_{isa}", {"sources": sources, "cflags": CFLAGS + flags + USER_FLAGS, "obj_deps": {"": HEADERS}}


def extensions():
    from Cython.Build import cythonize

    directives = {
        "language_level": 3,
        "boundscheck": DEBUG,
        "wraparound": False,
        "initializedcheck": DEBUG,
        "nonecheck": DEBUG,
        "cdivision": not DEBUG,
        "embedsignature": True,
        "freethreading_compatible": True,
    }
    modules = [
        Extension(
            f"fastconv._core.{name}",
            [f"{CORE}/{name}.pyx"],
            include_dirs=[f"{CORE}/csrc"],
            extra_compile_args=["-O3", "-ffp-contract=fast", "-fvisibility=hidden", *USER_FLAGS],
            extra_link_args=[] if sys.platform == "darwin" else ["-Wl,--gc-sections", *STRIP],
            depends=HEADERS + SOURCES,
        )
        for name in MODULES
    ]
    return cythonize(modules, compiler_directives=directives, build_dir="build/cython")


setup(
    libraries=[library(isa, flags) for isa, flags in ISA_FLAGS.items()],
    ext_modules=extensions(),
    cmdclass={"build_clib": BuildLibraries, "build_ext": BuildExtensions},
)
