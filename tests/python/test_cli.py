"""python -m pagoda doctor and bench."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pagoda
import pytest


def run(*arguments, **environment):
    return subprocess.run([sys.executable, "-m", "pagoda", *arguments], capture_output=True, text=True,
                          env={**os.environ, **environment})


def test_doctor_passes_its_self_test():
    done = run("doctor", PAGODA_CPU_ISA="portable")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if len(line.split()) > 1)
    assert lines["pagoda"].startswith(pagoda.__version__)
    assert "self-test         passed" in done.stdout
    assert "CPU kernels       portable" in done.stdout


def test_doctor_survives_a_broken_installation(tmp_path):
    """Without its extension; every other probe still speaks."""
    shutil.copytree(pathlib.Path(pagoda.__file__).parent, tmp_path / "pagoda",
                    ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    done = run("doctor", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stdout and "processor" in done.stdout
    broken = subprocess.run([sys.executable, "-c", "import pagoda"], capture_output=True, text=True,
                            env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert broken.returncode != 0 and "No module named 'pagoda._pagoda'" in broken.stderr


def test_doctor_survives_an_extension_that_is_no_library(tmp_path):
    shutil.copytree(pathlib.Path(pagoda.__file__).parent, tmp_path / "pagoda",
                    ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    (tmp_path / "pagoda" / "_pagoda.abi3.so").write_bytes(b"not a library")
    done = run("doctor", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1 and done.stderr == ""
    assert "ImportError" in done.stdout and "processor" in done.stdout


@pytest.mark.parametrize("environment", [
    {"PAGODA_NUM_THREADS": "none"}, {"PAGODA_CPU_ISA": "abacus"}, {"PYTHONIOENCODING": "ascii"},
    {"LD_LIBRARY_PATH": "/nowhere"}, {"CUDA_VISIBLE_DEVICES": "nonsense"}])
def test_doctor_never_raises(environment):
    done = run("doctor", **environment)
    assert done.returncode in (0, 1) and done.stderr == "", done.stderr
    assert "processor" in done.stdout and "self" in done.stdout
    for name, value in environment.items():
        assert not name.startswith("PAGODA") or value in done.stdout


@pytest.mark.parametrize("broken", ["platform.python_version", "pathlib.Path.read_text", "os.sched_getaffinity",
                                    "importlib.metadata.version", "ctypes.CDLL"])
def test_a_probe_that_fails_is_a_line_of_the_report(monkeypatch, capsys, broken):
    from pagoda import doctor

    def fail(*_, **__):
        raise OSError("it is broken")

    monkeypatch.setattr(broken, fail)
    assert doctor.main([]) == 0
    text = capsys.readouterr().out
    assert "OSError: it is broken" in text and "self-test         passed" in text


def test_doctor_imports_nothing_heavy():
    code = ("import sys; from pagoda.doctor import main; main([]); "
            "sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_the_self_test_can_fail(monkeypatch):
    from pagoda import doctor
    monkeypatch.setattr(doctor.SelfTest, "row", lambda self, *place: [0.0] * self.head_dim)
    assert not doctor.report([doctor.self_test])


def test_bench(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    done = run("bench", "--device", "cpu", "--batch", "2q4s40_1q1s1k", "--batch", "1q30", "--heads", "4/2",
               "--head-dim", "32", "--seconds", "0.01", "--peers", "sdpa", "flex", "--json", str(tmp_path / "b.json"),
               "--plot", str(tmp_path / "b"))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "b.json").read_text())
    assert [(r["batch"], r["implementation"]) for r in result["rows"]] == [
        (batch, name) for batch in ("2q4s40_1q1s1k", "1q30") for name in ("pagoda", "sdpa", "flex")]
    assert all(r["seconds"] > 0 and not r["note"] for r in result["rows"])
    # 2 x 2 heads x 32 x 2 bytes a token; pairs: 2 (4 * 40 - 6) + 1024
    assert result["rows"][0]["intensity"] == 4 * 32 * 4 * (2 * 154 + 1024) / (256 * (80 + 1024))
    for name in ("b_speed.png", "b_speed.svg", "b_roofline.png", "b_roofline.svg"):
        assert (tmp_path / name).stat().st_size > 5000


@pytest.mark.parametrize("text, lengths", [
    ("1q5", [(5, 5)]), ("q1s2k", [(1, 2048)]), ("2q1k_q3s10", [(1024, 1024), (1024, 1024), (3, 10)])])
def test_batch_grammar(text, lengths):
    pytest.importorskip("torch")
    from pagoda.bench import parse_batch
    assert parse_batch(text) == lengths
    for bad in ("x", "1q", "q5s3", ""):
        with pytest.raises(ValueError, match="batch: got"):
            parse_batch(bad)


def test_usage():
    assert run().returncode == 2 and run("--help").returncode == 0
