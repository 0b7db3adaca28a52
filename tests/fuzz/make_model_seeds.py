#!/usr/bin/env python3
"""Writes the seeds of fuzz_model that are whole networks and a delta: without checksums, so that changes get past
them, and with zero weights, so that a self test's output is the last layer's bias. Run in this folder."""
import json
import struct


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def write(name, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for tensor, shape in tensors:
        size = 4
        for extent in shape:
            size *= extent
        value = 1.0 if tensor.endswith("running_var") else 0.0
        header[tensor] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + size]}
        data += struct.pack("<f", value) * (size // 4)
    text = json.dumps(header, separators=(",", ":")).encode()
    with open("seeds/model/" + name, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def model(name, shape, layers, tensors, outputs, frozen=()):
    info = {"name": name, "classes": ["a", "b"],
            "preprocessing": {"image_size": 4, "crop": 4, "red": 0.3, "green": 0.6, "blue": 0.1, "mean": 0.5,
                              "deviation": 0.25, "margin": 0.1}}
    pack = lambda value: json.dumps(value, separators=(",", ":"))
    write(name, tensors, {"mien.network": pack({"input": shape, "layers": layers}), "mien.model": pack(info),
                          "mien.self_test": pack({"scalar": "float", "output": outputs}),
                          "mien.frozen": pack(list(frozen)), "note.a": "b"})


def layer(name, kind, **settings):
    return {"name": name, "kind": kind, **settings}


def sides(name, value, names=("height", "width")):
    return {f"{name}_{side}": value for side in names}


def conv(name, filters, kernel, padding, groups=1, bias=True):
    return layer(name, "Conv2d", filters=filters, **sides("kernel", kernel), **sides("stride", 1),
                 **sides("padding", padding, ("top", "left", "bottom", "right")), **sides("dilation", 1),
                 groups=groups, bias=bias)


def pool(name, kind, **more):
    return layer(name, kind, **sides("window", 2), **sides("stride", 1),
                 **sides("padding", 1, ("top", "left", "bottom", "right")), ceil_mode=True, **more)


def batch_norm(name):
    return layer(name, "BatchNorm2d", epsilon=1e-5, momentum=0.1)


def statistics(name, channels):
    return [(f"{name}.{part}", [channels]) for part in ("weight", "bias", "running_mean", "running_var")]


model("network_plain", [4, 4, 1],
      [conv("f.0", 2, 3, 1), batch_norm("f.1"), layer("f.2", "Relu"), pool("f.3", "MaxPool2d"),
       layer("c.0", "Flatten"), layer("c.1", "Dropout", rate=0.5), layer("c.2", "Dense", units=2, bias=True)],
      [("f.0.weight", [2, 1, 3, 3]), ("f.0.bias", [2]), *statistics("f.1", 2), ("c.2.weight", [2, 50]), ("c.2.bias", [2])],
      [0, 0], ["f"])
model("network_nested", [3, 3, 2],
      [layer("r", "Residual", branches=[{"name": "", "layers": [conv("0", 2, 1, 0, 2, False), layer("1", "Tanh")]},
                                        {"name": "s", "layers": []}]),
       layer("c", "Concat", branches=[{"name": "0", "layers": []},
                                      {"name": "1", "layers": [conv("0", 1, 1, 0), layer("1", "Sigmoid")]}]),
       pool("a", "AveragePool2d", count_padding=True), layer("b", "LeakyRelu", slope=0.1),
       layer("d", "AdaptiveAveragePool2d", **sides("output", 2)), layer("g", "GlobalAveragePool"),
       layer("h", "Dense", units=2, bias=False), layer("s", "Softmax")],
      [("r.0.weight", [2, 1, 1, 1]), ("c.1.0.weight", [1, 2, 1, 1]), ("c.1.0.bias", [1]), ("h.weight", [2, 3])],
      [0.5, 0.5])
base = crc32c(b"0.bias" + bytes(8), crc32c(b"0.weight" + bytes(16)))
write("delta", [("0.bias", [2])], {"mien.delta": str(base)})
