#!/usr/bin/env python3
"""Weights go both ways between mien and PyTorch, and the logits are the same.

    pytorch.py [FOLDER [PROGRAMS]]      # where interop.cpp is built, or $MIEN_TEST_BIN; where train_fer is

mien -> PyTorch: the model file opens with safetensors.torch.load_file and fits a network built in torch.nn with
load_state_dict(strict=True). PyTorch -> mien: save_file of a state_dict fits the network built in mien. Logits within
1e-5 either way; and a tensor too many, too few or of another shape is an error that names it.

Skipped where torch or safetensors is not installed; $MIEN_TORCH_PYTHON may name an interpreter that has them.
"""
import os
import subprocess
import sys
import tempfile

try:
    import safetensors.torch
    import torch
    from torch import nn
except ImportError as missing:
    other = os.environ.get("MIEN_TORCH_PYTHON")
    if other and os.path.realpath(other) != os.path.realpath(sys.executable):
        os.execv(other, [other] + sys.argv)
    print("skipped: %s" % missing)
    sys.exit(77)

PROGRAM = os.path.join(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MIEN_TEST_BIN", ""), "interop")
if not os.path.isfile(PROGRAM):
    print("skipped: no program '%s'" % PROGRAM)
    sys.exit(77)
torch.set_num_threads(1)
torch.manual_seed(1)
LIMIT = 1e-5
passed, failed = 0, 0


def check(name, good, words=""):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
    print("%s %s: %s" % ("  " if good else "FAILED", name, words))


class Residual(nn.Sequential):
    """main(x) + shortcut(x); main's layers are named as if they stood in place of this one."""

    def __init__(self, main, shortcut=None):
        super().__init__(*main)
        self.depth = len(main)
        if shortcut is not None:
            self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x):
        y = x
        for layer in list(self.children())[:self.depth]:
            y = layer(y)
        return y + (self.shortcut(x) if hasattr(self, "shortcut") else x)


class Parts(nn.Module):
    """Named parts, one after the other."""

    def __init__(self, **parts):
        super().__init__()
        for name, layers in parts.items():
            self.add_module(name, nn.Sequential(*layers))

    def forward(self, x):
        for part in self.children():
            x = part(x)
        return x


def plain():
    return nn.Sequential(
        nn.Conv2d(2, 6, (3, 5), (2, 1), (1, 2)), nn.ReLU(), nn.Conv2d(6, 8, 3, dilation=2, groups=2), nn.BatchNorm2d(8),
        nn.LeakyReLU(0.125), nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(8 * 3 * 4, 10), nn.Tanh(), nn.Linear(10, 7)), (2, 19, 13)


def residual():
    def block(c, filters, stride, identity):
        main = [nn.Conv2d(c, filters, 3, stride, 1, bias=False), nn.BatchNorm2d(filters), nn.ReLU(),
                nn.Conv2d(filters, filters, 3, 1, 1, bias=False), nn.BatchNorm2d(filters)]
        return Residual(main, None if identity else [nn.Conv2d(c, filters, 1, stride, bias=False),
                                                     nn.BatchNorm2d(filters)])
    return Parts(stem=[nn.Conv2d(3, 6, 3, 1, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU()],
                 body=[block(6, 6, 1, True), nn.ReLU(), block(6, 8, 2, False), nn.ReLU()],
                 classifier=[nn.Flatten(), nn.Dropout(0.5), nn.Linear(8 * 6 * 5, 7)]), (3, 11, 9)


def atulapra():
    return Parts(features=[nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
                           nn.Dropout(0.25), nn.Conv2d(64, 128, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(128, 128, 3),
                           nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)],
                 classifier=[nn.Flatten(), nn.Linear(4 * 4 * 128, 1024), nn.ReLU(), nn.Dropout(0.5),
                             nn.Linear(1024, 7)]), (1, 48, 48)


def vgg(*widths):
    layers, c = [], 1
    for width in widths:
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(2):
            layers += [nn.Conv2d(c, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            c = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return Parts(features=layers, classifier=[nn.Dropout(0.3), nn.Linear(c, 7)]), (1, 44, 44)


def call(*arguments):
    return subprocess.run([PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)


def logits(*arguments):
    done = call(*arguments)
    if done.returncode != 0:
        return None, done.stderr.strip()
    return torch.tensor([float(line) for line in done.stdout.split()], dtype=torch.float64).view(-1, 7), ""


def compare(name, theirs, network, x):
    """Against PyTorch in float, and in double: what is left then is mien's own rounding."""
    got, words = theirs
    if got is None:
        return check(name, False, words)
    with torch.no_grad():
        single = network(x).double()
        double = network.double()(x.double())
        network.float()
    error, exact = (got - single).abs().max().item(), (got - double).abs().max().item()
    spread = double.std(0).max().item()
    check(name, error <= LIMIT and spread > 0.01,
          "largest difference %.1e (from PyTorch in double %.1e), logits up to %.2f" % (error, exact,
                                                                                       double.abs().max().item()))


def randomize(network):
    """Statistics as after a while of training, so that mixing them up shows."""
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif name.endswith("running_mean"):
                value.uniform_(-0.3, 0.3)
            elif value.dim() == 1:
                value.add_(torch.empty_like(value).uniform_(-0.25, 0.25))
            elif name.endswith("num_batches_tracked"):
                value.fill_(123)


with tempfile.TemporaryDirectory(prefix="mien_interop_") as work:
    model, weights, inputs = (os.path.join(work, name) for name in ("model.safetensors", "w.safetensors", "x.safetensors"))
    for name, make in (("plain", plain), ("residual", residual), ("atulapra", atulapra), ("mien-s", lambda: vgg(32, 64, 128, 256))):
        network, shape = make()
        network.eval()
        # Of several strengths: noise of one strength is one and the same to what averages over the whole picture.
        x = torch.randn(5, *shape) * torch.linspace(0.2, 3, 5).view(5, 1, 1, 1)
        safetensors.torch.save_file({"x": x.permute(0, 2, 3, 1).contiguous()}, inputs)

        saved = call("save", name, model)
        if saved.returncode != 0:
            check(name + ", mien saves", False, saved.stderr.strip())
            continue
        try:
            network.load_state_dict(safetensors.torch.load_file(model), strict=True)
            check(name + ", mien to PyTorch: names and shapes", True, "%d tensors" % len(network.state_dict()))
        except Exception as error:
            check(name + ", mien to PyTorch: names and shapes", False, str(error))
        compare(name + ", mien to PyTorch", logits("model", model, inputs), network, x)

        randomize(network)
        state = network.state_dict()
        safetensors.torch.save_file(state, weights)
        compare(name + ", PyTorch to mien", logits("weights", name, weights, inputs), network, x)

        first = next(iter(state))
        for what, changed, words in (
                ("a tensor is missing", {k: v for k, v in state.items() if k != first}, ["missing", first]),
                ("a tensor too many", {**state, "stranger": torch.zeros(2)}, ["unexpected", "stranger"]),
                ("another shape", {**state, first: state[first][:-1].clone()}, ["mis-shaped", first])):
            safetensors.torch.save_file(changed, weights)
            done = call("weights", name, weights, inputs)
            check("%s, PyTorch to mien: %s" % (name, what),
                  done.returncode == 2 and all(word in done.stderr for word in words), done.stderr.strip().split("\n")[-1])

    # What a training program saved: beside the network's tensors there is its bank of general features.
    trainer = os.path.join(sys.argv[2] if len(sys.argv) > 2 else "", "train_fer")
    if os.path.isfile(trainer):
        out = os.path.join(work, "trained")
        subprocess.run([trainer, "--persons", "20", "--epochs", "2", "--batch", "20", "--model", "tiny", "--out", out],
                       check=True, stderr=subprocess.DEVNULL, timeout=600)
        stored = safetensors.torch.load_file(out + "/model.safetensors")
        network, shape = vgg(8, 16, 32)
        network.load_state_dict({name: t for name, t in stored.items() if not name.startswith("extra.")}, strict=True)
        network.eval()
        x = torch.randn(5, *shape) * torch.linspace(0.2, 3, 5).view(5, 1, 1, 1)
        safetensors.torch.save_file({"x": x.permute(0, 2, 3, 1).contiguous()}, inputs)
        compare("trained by train_fer", logits("model", out + "/model.safetensors", inputs), network, x)
        safetensors.torch.save_file(network.state_dict(), weights)
        compare("trained by train_fer, and back", logits("weights", "tiny", weights, inputs), network, x)
    else:
        print("   skipped: trained by train_fer: no program '%s'" % trainer)
print("%d passed, %d failed" % (passed, failed))
sys.exit(1 if failed or not passed else 0)
