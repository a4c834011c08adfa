"""A device that is not there: what a GPU would refuse is refused, on a machine without one. Run as a program.

PyTorch lets a backend be registered in Python, and has *fake* tensors, which have a shape, a dtype and a device but no
contents. Together they run the true code on a device "gpux" and refuse every operation on tensors of two devices, as
CUDA does. Where the code reads a number from a tensor (a loss, a norm, a token) it gets 1.

Two gaps: bitsandbytes cannot quantise fake tensors, so that the frozen layers are plain ones, and what is done only on
"cuda" by name (waiting, looking at its memory) is not done.

    python tests/support/fake_device.py float16 3 [spoil]     three adapters; spoil leaves the wanted tokens on the CPU
"""

import sys
from contextlib import ExitStack
from unittest import mock

import numpy as np
import torch
from torch._subclasses import fake_impls
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
from transformers import AutoModelForCausalLM

from benchmarks import sweep, trainers
from benchmarks.counted import config_of
from benchmarks.random_nf4 import QUICK
from benchmarks.subjects import parts_of, widened_tokenizer
from course_lib.data import pocket
from course_lib.knowledge.scoring import batching
from course_lib.knowledge.scoring.engine import score
from course_lib.models import four_bit
from course_lib.training import multi_lora
from course_lib.training.finetune import TuneConfig, add_lora, evaluate
from course_lib.training.loop import Loop

DEVICE = "gpux:0"
KINDS = {torch.bool: bool, torch.long: int}
make, cross_entropy = torch.tensor, torch.nn.functional.cross_entropy


def tensor(data, *, device=None, dtype=None) -> torch.Tensor:
    """torch.tensor, which fills the device's memory at once, without contents there."""
    made = make(data, dtype=dtype)
    return made if device is None else torch.empty(made.shape, dtype=made.dtype, device=device)


def ones(of: torch.Tensor) -> np.ndarray:
    return np.ones(tuple(of.shape), KINDS.get(of.dtype, float))


def numpy(of: torch.Tensor) -> np.ndarray:
    assert of.device.type == "cpu", f"a tensor on {of.device} is read as numpy"
    return ones(of)


def spoiled(logits: torch.Tensor, wanted: torch.Tensor, **how) -> torch.Tensor:
    return cross_entropy(logits, wanted.cpu(), **how)


def move(model: torch.nn.Module) -> None:
    """Put every weight and buffer on the device."""
    for module in model.modules():
        for name, old in [*module._parameters.items(), *module._buffers.items()]:
            if old is not None:
                new = torch.empty(old.shape, dtype=old.dtype, device=DEVICE)
                if name in module._parameters:
                    module._parameters[name] = torch.nn.Parameter(new, old.requires_grad)
                else:
                    module._buffers[name] = new
    model.get_base_model().tie_weights()


def stand_ins(spoil: bool) -> list:
    """What has to read contents, or to ask a real device."""
    return [mock.patch.object(torch, "tensor", tensor), mock.patch.object(torch.Tensor, "numpy", numpy),
            mock.patch.object(torch.Tensor, "tolist", lambda of: ones(of).tolist()),
            mock.patch.object(torch, "allclose", lambda one, other, **_: (one - other).numel() > 0),
            mock.patch.dict(fake_impls.op_implementations_dict, {
                torch.ops.aten._local_scalar_dense.default: lambda _, __, of: KINDS.get(of.dtype, float)(1)}),
            mock.patch.object(multi_lora, "dense_fits", lambda *_: False),
            *(mock.patch.object(module, "free_memory", lambda _: 2**36) for module in (four_bit, batching)),
            *[mock.patch.object(torch.nn.functional, "cross_entropy", spoiled)] * spoil]


def go(dtype: torch.dtype, runs: int) -> None:
    """Train, stop and go on, and ask, with all tensors on the device."""
    tokenizer, facts = widened_tokenizer(QUICK.vocabulary), pocket.load()
    model = AutoModelForCausalLM.from_config(config_of(QUICK, tokenizer), dtype=dtype).requires_grad_(False)
    configs, names = [TuneConfig(batch=8, seed=seed) for seed in range(runs)], [f"run{n}" for n in range(runs)]
    for name, config in zip(names, configs, strict=True):
        model = add_lora(model, config, name=name)
    with FakeTensorMode():
        move(model.eval())
        loop = Loop(model, tokenizer, names, sweep.draw_mixes(facts.train, runs=runs, rows=20), configs)
        assert loop.packed and loop.stacks.weights.dtype == torch.float32
        for loop.packed in (True, False):
            loop.epoch(1)
        one = loop.states[-1]
        one.restore(one.checkpoint([]))
        if runs == 1:
            loop.micro_batches = 2
            loop.epoch(2)
        trainers.mean_loss(model, one.rows)
        part = parts_of(facts, questions=6)[0]
        score(model, tokenizer, part.facts, part.prompts[:3])
        evaluate(model, tokenizer, {"test": facts.test[:6]})
    devices = {str(tensor.device) for tensor in (*model.parameters(), *one.optimizer.state[one.vector].values())}
    assert devices == {DEVICE}, devices


if __name__ == "__main__":
    _setup_privateuseone_for_python_backend("gpux")
    with ExitStack() as stack:
        for patch in stand_ins("spoil" in sys.argv):
            stack.enter_context(patch)
        go(getattr(torch, sys.argv[1]), int(sys.argv[2]))
    print("all on one device")
