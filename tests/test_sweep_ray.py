"""A sweep on a real Ray cluster of two nodes, started here: the same as without it, also when a node is killed."""

import subprocess
import sys
import time

import pytest

pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[ray]' in the clone")

from tracer.cli.probe_l1 import main

COMMAND = [sys.executable, "-m", "tracer.cli.probe_l1"]
GRID = ["pocket-hunyuanvideo", "--steps=8,12", "--shift=1,7", "--frames=1,9", "--height=64", "--width=64", "--cfg=6"]
GRID += ["--seeds=3"]
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
PATIENCE = 240


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Stdout and the log's bytes of the sweep without a cluster."""
    out = tmp_path_factory.mktemp("local") / "runs"
    done = subprocess.run(
        [*COMMAND, *GRID, "--workers", "1", "--out", out], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    return done.stdout, (out / "log.parquet").read_bytes()


@pytest.fixture
def cluster():
    """Two nodes with a core each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def cells(out):
    return len(list(out.glob("cells/*.parquet")))


@pytest.mark.filterwarnings("ignore")  # Ray's own, of files and processes it leaves open
def test_the_table_is_the_local_one_also_when_a_node_is_killed_in_the_middle(cluster, local, tmp_path):
    second = cluster.add_node(**NODE)
    out = tmp_path / "runs"
    command = [*COMMAND, *GRID, "--engine", "ray", "--address", cluster.address, "--out", out]
    sweep = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + PATIENCE
    while cells(out) < 3 and sweep.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert sweep.poll() is None
    assert 3 <= cells(out) < 24
    cluster.remove_node(second, allow_graceful=False)
    stdout, stderr = sweep.communicate(timeout=PATIENCE)
    assert sweep.returncode == 0, stderr
    assert stdout == local[0]
    assert (out / "log.parquet").read_bytes() == local[1]


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_is_not_there_is_a_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "")
    argv = ["pocket-hunyuanvideo", "--engine", "ray", "--out", str(tmp_path / "runs")]
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "probe-l1: no Ray cluster answers here: start one with ray start --head" in err
    assert list(tmp_path.iterdir()) == []
