#!/usr/bin/env python3
"""Writes tests/data/layers/*.safetensors: layers and small networks as PyTorch computes them in double.

    python3 tests/golden/make_layer_golden.py     (needs torch and safetensors)

layers.safetensors holds cases "conv.0", "max_pool.3", ...: "<case>.settings" (integers, in the order in which
tests/layer_golden_test.cpp reads them), inputs "x", "dy" and the parameters in float, results "y", "dx", "d<parameter>"
in double. Images are stored as mien holds them, (batch, height, width, channels); weights as PyTorch does.
networks.safetensors holds whole networks: initial parameters under PyTorch's names, one batch with its targets, and per
optimizer the losses of 20 steps and the logits (inference) after them.
"""
import pathlib
import random
import struct

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

torch.set_default_dtype(torch.float64)
torch.manual_seed(20)
dice = random.Random(4)
tensors = {}


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def draw(*shape):
    """Normal values that a float holds exactly."""
    return torch.randn(*shape).float().double()


def nhwc(t):
    return t.permute(0, 2, 3, 1).contiguous() if t.dim() == 4 else t.contiguous()


def store(name, x, y, dy, dx, settings, parameters=()):
    tensors[name + ".settings"] = torch.tensor(settings, dtype=torch.int64)
    tensors[name + ".x"], tensors[name + ".dy"] = nhwc(x.detach()).float(), nhwc(dy).float()
    tensors[name + ".y"], tensors[name + ".dx"] = nhwc(y.detach()), nhwc(dx)
    for key, p in parameters:
        tensors[name + "." + key] = p.detach().float()
        tensors[name + ".d" + key] = p.grad.clone()


def run(name, x, function, settings, parameters=()):
    x.requires_grad_()
    y = function(x)
    dy = draw(*y.shape)
    y.backward(dy)
    store(name, x, y, dy, x.grad, settings, parameters)


def padded(x, top, left, bottom, right, value=0.0):
    return F.pad(x, (left, right, top, bottom), value=value)


# --- convolution and dense ------------------------------------------------------------------------------------------


def conv(name, n, h, w, c, filters, kernel, stride, padding, dilation, groups, bias):
    weight = draw(filters, c // groups, *kernel).requires_grad_()
    b = draw(filters).requires_grad_() if bias else None
    run(name, draw(n, c, h, w),
        lambda x: F.conv2d(padded(x, *padding), weight, b, stride, 0, dilation, groups),
        [n, h, w, c, filters, *kernel, *stride, *padding, *dilation, groups, int(bias)],
        [("weight", weight)] + ([("bias", b)] if bias else []))


conv("conv.0", 2, 6, 5, 3, 4, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1, True)
conv("conv.1", 2, 5, 5, 6, 6, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 6, True)  # depthwise
conv("conv.2", 1, 4, 6, 5, 7, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, False)
conv("conv.3", 1, 7, 8, 2, 4, (2, 3), (2, 3), (0, 2, 1, 0), (2, 1), 2, True)
conv("conv.4", 1, 3, 3, 17, 18, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1, True)  # beyond a vector of 16
for i in range(5, 17):
    while True:
        groups = dice.choice([1, 1, 1, 2, 3])
        kernel = (dice.randint(1, 4), dice.randint(1, 4))
        dilation = (dice.randint(1, 2), dice.randint(1, 2))
        padding = tuple(dice.randint(0, 3) for _ in range(4))
        h, w = dice.randint(1, 7), dice.randint(1, 7)
        if (h + padding[0] + padding[2] > dilation[0] * (kernel[0] - 1)
                and w + padding[1] + padding[3] > dilation[1] * (kernel[1] - 1)):
            break
    conv("conv.%d" % i, dice.randint(1, 2), h, w, groups * dice.randint(1, 2), groups * dice.randint(1, 3), kernel,
         (dice.randint(1, 3), dice.randint(1, 3)), padding, dilation, groups, dice.random() < 0.7)

for i, (n, c, units, bias) in enumerate([(3, 7, 5, 1), (1, 19, 2, 0), (5, 1, 1, 1), (2, 33, 17, 1)]):
    weight, b = draw(units, c).requires_grad_(), draw(units).requires_grad_() if bias else None
    run("dense.%d" % i, draw(n, c), lambda x: F.linear(x, weight, b), [n, c, units, bias],
        [("weight", weight)] + ([("bias", b)] if bias else []))

# A dense layer behind a flattened image: its columns are in (channels, height, width) order in PyTorch.
weight, b = draw(4, 3 * 2 * 5).requires_grad_(), draw(4).requires_grad_()
run("flatten_dense.0", draw(2, 5, 3, 2), lambda x: F.linear(x.flatten(1), weight, b), [2, 3, 2, 5, 4],
    [("weight", weight), ("bias", b)])

# --- pooling --------------------------------------------------------------------------------------------------------

for i, (h, w, window, stride, padding, ceil) in enumerate([
        (6, 5, (2, 2), (2, 2), (0, 0), 0), (6, 5, (2, 2), (2, 2), (0, 0), 1), (7, 6, (3, 3), (2, 2), (1, 1), 0),
        (7, 6, (3, 3), (2, 2), (1, 1), 1), (5, 9, (2, 3), (1, 2), (1, 0), 1), (8, 8, (2, 2), (3, 3), (1, 1), 1),
        (4, 4, (4, 4), (1, 1), (2, 2), 0), (1, 1, (2, 2), (2, 2), (1, 1), 1)]):
    settings = [1 if i % 2 else 2, h, w, 3, *window, *stride, *padding, ceil]
    # Small whole numbers, so that there are ties: the first of them gets the gradient.
    ties = torch.randint(-3, 4, (settings[0], 3, h, w)).double() if i in (0, 3, 6) else draw(settings[0], 3, h, w)
    run("max_pool.%d" % i, ties, lambda x: F.max_pool2d(x, window, stride, padding, ceil_mode=bool(ceil)), settings)
    for counted in (0, 1):
        run("average_pool.%d" % (2 * i + counted), draw(settings[0], 3, h, w),
            lambda x: F.avg_pool2d(x, window, stride, padding, bool(ceil), bool(counted)), settings + [counted])

for i, (h, w, oh, ow) in enumerate([(7, 5, 3, 2), (6, 6, 3, 3), (3, 2, 5, 4), (10, 7, 7, 7), (4, 5, 1, 1)]):
    run("adaptive_pool.%d" % i, draw(1, 2, h, w), lambda x: F.adaptive_avg_pool2d(x, (oh, ow)), [1, h, w, 2, oh, ow])

# --- elementwise ----------------------------------------------------------------------------------------------------

run("relu.0", torch.cat([torch.zeros(1, 2), draw(2, 2)]), torch.relu, [3, 2])
run("leaky_relu.0", torch.cat([torch.zeros(1, 2), draw(4, 2)]), lambda x: F.leaky_relu(x, f32(0.1)), [5, 2])
run("sigmoid.0", torch.cat([draw(3, 3), torch.tensor([[-40.0, 40.0, 0.0]])]), torch.sigmoid, [4, 3])
run("tanh.0", torch.cat([draw(3, 3), torch.tensor([[-30.0, 30.0, 0.0]])]), torch.tanh, [4, 3])
run("softmax.0", torch.cat([4 * draw(3, 7), torch.tensor([[1000.0, 999, -1000, 0, 0, 0, 0]])]),
    lambda x: torch.softmax(x, 1), [4, 7])

# --- normalization: three training steps, then inference, then a frozen step ------------------------------------------

for i, (n, h, w, c, eps, momentum) in enumerate([(2, 3, 2, 4, 1e-5, 0.1), (5, 1, 1, 3, 0.01, 0.3)]):
    layer = nn.BatchNorm2d(c, eps=f32(eps), momentum=f32(momentum))
    with torch.no_grad():
        layer.weight.copy_(draw(c))
        layer.bias.copy_(draw(c))
    for step in range(5):
        name = "batch_norm.%d" % (5 * i + step)
        layer.train(step < 3)
        tensors[name + ".running_mean"] = layer.running_mean.clone()
        tensors[name + ".running_var"] = layer.running_var.clone()
        layer.zero_grad()
        x = (draw(n, c, h, w) * (1 + step) + 3 * step).float().double()
        run(name, x, layer, [n, h, w, c, int(step < 3), round(eps * 1e6), round(momentum * 1e6)],
            [("weight", layer.weight), ("bias", layer.bias)])
        tensors[name + ".running_mean_after"] = layer.running_mean.clone()
        tensors[name + ".running_var_after"] = layer.running_var.clone()

folder = pathlib.Path(__file__).resolve().parent.parent / "data" / "layers"


def write(name):
    made_by = {"made by": "tests/golden/make_layer_golden.py with PyTorch " + torch.__version__.split("+")[0]}
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / name, made_by)
    print(name, (folder / name).stat().st_size, "bytes,", len(tensors), "tensors")
    tensors.clear()


write("layers.safetensors")

# --- networks: 20 steps of training -----------------------------------------------------------------------------------


class Residual(nn.Module):
    """main(x) + shortcut(x), named as mien names it: main's layers in its own place."""

    def __init__(self, main, shortcut=None):
        super().__init__()
        for i, layer in enumerate(main):
            self.add_module(str(i), layer)
        self.count = len(main)
        self.shortcut = shortcut

    def forward(self, x):
        y = x
        for i in range(self.count):
            y = getattr(self, str(i))(y)
        return y + (self.shortcut(x) if self.shortcut else x)


class Concat(nn.Module):
    def __init__(self, *branches):
        super().__init__()
        for i, branch in enumerate(branches):
            self.add_module(str(i), branch)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.children()], 1)


# No convolution in front of a normalization has a bias: its gradient is zero up to rounding, of which Adam makes steps
# of full size.
def plain():
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, bias=False), nn.BatchNorm2d(8),
                         nn.LeakyReLU(0.125), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32, 10), nn.Tanh(),
                         nn.Linear(10, 7)), (12, 12, 1)


def resnet():
    def block(c, out, stride):
        main = [nn.Conv2d(c, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
                nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)]
        down = nn.Sequential(nn.Conv2d(c, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        return [Residual(main, None if (c, stride) == (out, 1) else down), nn.ReLU()]
    return nn.Sequential(nn.Conv2d(2, 6, 3, 1, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), *block(6, 6, 1),
                         *block(6, 8, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7)), (8, 8, 2)


def densenet():
    def layer(c, growth):
        return Concat(nn.Sequential(), nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, growth, 3, 1, 1, bias=False)))
    return nn.Sequential(nn.Conv2d(1, 4, 3, 1, 1, bias=False), layer(4, 3), layer(7, 3), nn.BatchNorm2d(10), nn.ReLU(),
                         nn.Conv2d(10, 5, 1), nn.AvgPool2d(2), layer(5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Sigmoid(), nn.Linear(8, 7)), (8, 8, 1)


STEPS, BATCH = 20, 8
for name, make in (("plain", plain), ("resnet", resnet), ("densenet", densenet)):
    net, (h, w, c) = make()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eps, m.momentum = f32(m.eps), f32(m.momentum)
    start = {k: v.clone().float().double() for k, v in net.state_dict().items() if "num_batches" not in k}
    x, labels = draw(BATCH, c, h, w), torch.randint(0, 7, (BATCH,))
    tensors[name + ".x"] = nhwc(x).float()
    tensors[name + ".targets"] = F.one_hot(labels, 7).float()
    for k, v in start.items():
        tensors[name + ".start." + k] = v.float()
    for optimizer_name, make_optimizer in (
            ("sgd", lambda p: torch.optim.SGD(p, lr=f32(0.05), momentum=f32(0.9), weight_decay=f32(1e-3))),
            ("adam", lambda p: torch.optim.Adam(p, lr=f32(0.01), betas=(f32(0.9), f32(0.999)), eps=f32(1e-8)))):
        net.load_state_dict(start, strict=False)
        net.train()
        optimizer = make_optimizer(net.parameters())
        losses = []
        for step in range(STEPS):
            optimizer.zero_grad()
            # Another part of the batch weighs most every time, so that no step repeats the one before.
            loss = F.cross_entropy(net(x * (1 + step % 3)), labels, label_smoothing=f32(0.1))
            loss.backward()
            if step == 0 and optimizer_name == "sgd":
                for k, p in net.named_parameters():
                    tensors[name + ".gradient." + k] = p.grad.clone().float()
            optimizer.step()
            losses.append(loss.item())
        net.eval()
        tensors["%s.%s.losses" % (name, optimizer_name)] = torch.tensor(losses)
        tensors["%s.%s.logits" % (name, optimizer_name)] = net(x).detach()

write("networks.safetensors")
