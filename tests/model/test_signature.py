from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from waypost.model.signature import INPUTS, OUTPUTS, Backend, Device, Row, Sizes, check_inputs, config_pbtxt, pack

GOLDEN = Path(__file__).parents[2] / "model_repository" / "recommender" / "config.pbtxt"
SIZES = Sizes(num_users=5, num_posts=7, num_tags=3, num_tokens=11)


def test_the_golden_config_is_what_the_signature_generates() -> None:
    assert config_pbtxt("onnxruntime", "gpu") == GOLDEN.read_text(), "write it anew: see CONTRIBUTING.md"


@pytest.mark.parametrize("backend", ["onnxruntime", "python"])
@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_triton_parses_every_config(backend: Backend, device: Device) -> None:
    config = text_format.Parse(config_pbtxt(backend, device), model_config_pb2.ModelConfig())
    assert [(t.name, list(t.dims)) for t in config.input] == [(t.name, list(t.dims)) for t in INPUTS]
    assert [(t.name, list(t.dims)) for t in config.output] == [(t.name, list(t.dims)) for t in OUTPUTS]
    assert config.backend == backend


def test_lists_are_padded_with_the_row_that_adds_nothing() -> None:
    packed = pack([Row(1, recent_posts=[4, 5, 6]), Row(5)], SIZES)
    assert packed["recent_posts"].tolist() == [[4, 5, 6, 7], [7, 7, 7, 7]]
    assert packed["query_tokens"].tolist() == [[11], [11]]
    assert packed["profile_tags"].tolist() == [[3], [3]]
    assert packed["user_index"].tolist() == [[1], [5]]


def test_what_is_packed_passes_the_check_and_anything_else_does_not() -> None:
    packed = pack([Row(1)], SIZES)
    check_inputs(dict(packed))
    with pytest.raises(ValueError, match="user_index"):
        check_inputs({**packed, "user_index": np.zeros((1, 1), np.int64)})
    with pytest.raises(ValueError, match="restricted"):
        check_inputs({name: array for name, array in packed.items() if name != "restricted"})
