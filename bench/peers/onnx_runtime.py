#!/usr/bin/env python3
"""ONNX Runtime's part of the comparison: inference in fp32.

    onnx_runtime.py FOLDER      requests "infer", "run", "memory" as in bench/step_bench.cpp;
                                networks are read from FOLDER/NETWORK.onnx, which pytorch.py wrote

Input and output are bound once, so that a step costs no more Python than one call.
"""

import os
import sys

import numpy
import onnxruntime

from protocol import serve


def prepare(kind, name, batch, precision, threads):
    if kind != "infer" or precision != "fp32":
        raise ValueError("ONNX Runtime is asked for inference in fp32 only")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(os.path.join(sys.argv[1], name + ".onnx"), options,
                                           providers=["CPUExecutionProvider"])
    side = session.get_inputs()[0].shape[-1]
    images = numpy.random.default_rng(1).standard_normal((int(batch), 1, side, side), dtype=numpy.float32)
    binding = session.io_binding()
    binding.bind_ortvalue_input(session.get_inputs()[0].name, onnxruntime.OrtValue.ortvalue_from_numpy(images))
    logits = onnxruntime.OrtValue.ortvalue_from_shape_and_type([int(batch), 7], numpy.float32)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, logits)

    def step():
        session.run_with_iobinding(binding)
    return step


if __name__ == "__main__":
    serve(prepare)
