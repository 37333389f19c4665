"""The embedded Triton with real python models: onnxruntime answers, and what a killed server leaves is removed."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import onnx
import pytest
from onnx import TensorProto, helper

from waypost.errors import LocalStackError
from waypost.local import stack, triton
from waypost.local.layout import Layout
from waypost.local.ports import LOOPBACK, choose_ports
from waypost.local.processes import read_holders, read_process, wait_until
from waypost.local.status import read_status
from waypost.local.supervisor import Supervisor
from waypost.settings import EmbeddedStack, LocalSettings, read_settings, read_shared

CONFIG = """
name: "doubler"
backend: "python"
max_batch_size: 8
input [{ name: "x" data_type: TYPE_FP32 dims: [ 3 ] }]
output [{ name: "y" data_type: TYPE_FP32 dims: [ 3 ] }, { name: "numpy" data_type: TYPE_STRING dims: [ 1 ] }]
"""
MODEL = """
import os
import numpy
import onnxruntime
import triton_python_backend_utils as triton

class TritonPythonModel:
    def initialize(self, args):
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        return [self.answer(triton.get_input_tensor_by_name(request, "x").as_numpy()) for request in requests]

    def answer(self, x):
        (y,) = self.session.run(None, {"x": x})
        version = numpy.array([[numpy.__version__.encode()]] * len(x), dtype=object)
        return triton.InferenceResponse([triton.Tensor("y", y), triton.Tensor("numpy", version)])
"""


def save_doubler(repository: Path) -> None:
    """A python-backend model that runs y = x + x by onnxruntime."""
    folder = repository / "doubler" / "1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "config.pbtxt").write_text(CONFIG)
    (folder / "model.py").write_text(MODEL)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "doubler", values[:1], values[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )


def post(found: EmbeddedStack, path: str, body: object) -> tuple[int, dict[str, object]]:
    address = urlsplit(found.triton_http_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    try:
        connection.request("POST", path, json.dumps(body))
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")
    finally:
        connection.close()


def ask_doubler(found: EmbeddedStack) -> list[dict[str, object]]:
    rows = [[1.0, -2.0, 0.5], [0.0, 3.0, 4.0]]
    inputs = [{"name": "x", "shape": [2, 3], "datatype": "FP32", "data": rows}]
    status, answer = post(found, "/v2/models/doubler/infer", {"inputs": inputs})
    assert status == 200, answer
    outputs = answer["outputs"]
    assert isinstance(outputs, list)
    return outputs


@pytest.fixture
def doubler(triton_stack: EmbeddedStack) -> Iterator[EmbeddedStack]:
    repository = Path(triton_stack.triton_repository)
    save_doubler(repository)
    assert post(triton_stack, "/v2/repository/models/doubler/load", {}) == (200, {})
    yield triton_stack
    post(triton_stack, "/v2/repository/models/doubler/unload", {})
    shutil.rmtree(repository / "doubler")


def test_a_python_model_runs_onnxruntime_and_its_outputs_are_not_empty(doubler: EmbeddedStack) -> None:
    outputs = {str(output["name"]): output["data"] for output in ask_doubler(doubler)}
    assert outputs["y"] == [2.0, -4.0, 1.0, 0.0, 6.0, 8.0]


def test_the_stub_imports_the_numpy_of_its_own_environment(doubler: EmbeddedStack) -> None:
    outputs = {str(output["name"]): output["data"] for output in ask_doubler(doubler)}
    versions = outputs["numpy"]
    assert isinstance(versions, list)
    assert len(versions) == 2
    assert all(version.startswith("1.") for version in versions)


def test_a_killed_server_is_started_again_and_status_names_the_new_one(local_dir: Path) -> None:
    stack.up(local_dir, read_settings(LocalSettings, {}), read_shared({}), ["triton"])
    server = read_status(local_dir)["parts"]["triton"]["pid"]
    assert read_process(int(str(server))) is not None
    os.kill(int(str(server)), signal.SIGKILL)
    assert wait_until(lambda: read_status(local_dir)["parts"]["triton"]["pid"] not in (server, None), 30)
    assert wait_until(lambda: read_status(local_dir)["parts"]["triton"]["state"] == "up", 30)
    assert stack.read_died(local_dir) == []


def test_a_server_that_dies_of_its_start_is_told_at_once(local_dir: Path) -> None:
    """Its port is not free: the keeper would try for ever, the verb must not."""
    layout = Layout.of(local_dir)
    layout.create()
    home, ports = triton.find_triton(None), choose_ports(triton.PORT_NAMES, dict.fromkeys(triton.PORT_NAMES, 0), {}, [])
    with (
        socket.create_server((LOOPBACK, ports["triton_grpc"])),
        pytest.raises(LocalStackError, match=r"triton ended while it started: .*(address|port)"),
    ):
        Supervisor(layout).ensure(triton.triton_spec(layout, home, ports))
    assert read_holders(layout.part_lock("triton")) == []


def test_a_killed_keeper_leaves_no_server_no_stub_and_no_shared_memory_behind(local_dir: Path) -> None:
    layout = Layout.of(local_dir)

    def up() -> EmbeddedStack:
        return stack.up(local_dir, read_settings(LocalSettings, {}), read_shared({}), ["triton"])

    def regions() -> set[Path]:
        return set(triton.SHARED_MEMORY.glob(f"{triton.region_prefix(layout)}*"))

    found = up()
    save_doubler(Path(found.triton_repository))
    assert post(found, "/v2/repository/models/doubler/load", {}) == (200, {})
    family = read_holders(layout.part_lock("triton"))
    left = regions()
    assert len(family) == 3, "the keeper, the server and its stub"
    assert left
    leader = Supervisor(layout).read_leader("triton")
    assert leader is not None
    os.kill(leader.process.pid, signal.SIGKILL)
    assert wait_until(lambda: "triton" in stack.read_died(local_dir), 10)

    up()
    assert not any(process.is_alive() for process in family)
    assert not left & regions()
    assert post(found, "/v2/repository/models/doubler/load", {}) == (200, {})
    assert {output["name"] for output in ask_doubler(found)} == {"y", "numpy"}


def test_two_stacks_do_not_share_regions(tmp_path: Path) -> None:
    assert triton.region_prefix(Layout.of(tmp_path / "a")) != triton.region_prefix(Layout.of(tmp_path / "b"))


def test_a_missing_library_is_named_with_its_package(tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    said = "stub: error while loading shared libraries: libpython3.11.so.1.0: cannot open shared object file"
    stub.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 127\n")
    stub.chmod(0o755)
    with pytest.raises(LocalStackError) as caught:
        triton.check_stub(stub, {}, "3.11")
    assert str(caught.value) == (
        "Triton's python stub lacks the library libpython3.11.so.1.0; apt-get install libpython3.11"
    )


def test_the_real_stub_lacks_nothing_here(triton_stack: EmbeddedStack, stack_folders: Path) -> None:
    layout, home = Layout.of(stack_folders / "session"), triton.find_triton(None)
    stub = triton.save_backends(home, layout.triton_backends)
    triton.check_stub(stub, triton.triton_environment(layout, home), home.python_version)
    with pytest.raises(LocalStackError, match="lacks the library"):
        triton.check_stub(_without_libraries(stub, layout.root), {}, home.python_version)


def _without_libraries(stub: Path, folder: Path) -> Path:
    """The same stub asking for a libpython that no machine has."""
    broken = folder / "broken-stub"
    content = stub.read_bytes()
    assert b"libpython3.11.so.1.0\0" in content
    broken.write_bytes(content.replace(b"libpython3.11.so.1.0\0", b"libpythonX.11.so.1.0\0"))
    broken.chmod(0o755)
    return broken


def test_too_little_shared_memory_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(
        LocalStackError, match=r"MiB free, Triton needs 1099511627776 MiB; free it or mount a larger one"
    ):
        triton.check_shared_memory(tmp_path, needed=2**60)
    with pytest.raises(LocalStackError, match="shm is missing"):
        triton.check_shared_memory(tmp_path / "shm")


def test_a_folder_without_tritonserver_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lib/python3.11/site-packages").mkdir(parents=True)
    with pytest.raises(LocalStackError, match=f"no tritonserver in {tmp_path}; run `make setup`"):
        triton.find_triton(tmp_path)


def test_an_interpreter_with_a_shared_library_is_preferred_to_the_machines(tmp_path: Path) -> None:
    (tmp_path / "base/lib").mkdir(parents=True)
    (tmp_path / "base/lib/libpython3.11.so.1.0").touch()
    home = triton.TritonHome(tmp_path / "site-packages", "3.11", tmp_path / "base/bin")
    environment = triton.triton_environment(Layout.of(tmp_path), home)
    assert environment["LD_LIBRARY_PATH"].endswith(f":{tmp_path}/base/lib")
    assert environment["PATH"].startswith(f"{tmp_path}/base/bin:")
    assert "PYTHONPATH" not in environment, "the stub would ignore it"


def test_a_stub_that_another_process_still_holds_open_for_writing_is_waited_for(tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    stub.write_text("#!/bin/sh\nexit 0\n")
    stub.chmod(0o700)
    writer = stub.open("a")
    threading.Timer(0.3, writer.close).start()
    with pytest.raises(OSError, match="Text file busy"):
        subprocess.run([stub], check=False, timeout=5)
    triton.check_stub(stub, {}, "3.11")
