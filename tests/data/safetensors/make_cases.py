"""Writes cases.json: crafted safetensors files, what mien must do with each, and what the reference reader does.

    python3 make_cases.py            # needs the PyPI package safetensors (0.8.0 was used)

The reference's verdict is measured here; mien's is the contract, tested by tests/safetensors_test.cpp, and `error`
is a part of mien's message. Where the two differ, `why` says the reason.
"""
import json
import struct

import safetensors


def file(header, data=b"", length=None):
    header = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def tensor(dtype="F32", shape="[2]", offsets="[0,8]"):
    return '{"dtype":"%s","shape":%s,"data_offsets":%s}' % (dtype, shape, offsets)


def one(name="t", **fields):
    return '{"%s":%s}' % (name, tensor(**fields))


T = '{"t":' + tensor()
Z = b"\0" * 8
DUPLICATE = "a name that stands twice is read differently by different parsers; the format's description forbids it"
UNKNOWN = "a field that is not known cannot be honoured"

# name, bytes, part of mien's error ("" = accepted), reason where mien and the reference differ
CASES = [
    ("ok", file(T + "}", Z), "", ""),
    ("no tensors, no data", file("{}"), "", ""),
    ("N = 0", struct.pack("<Q", 0), "expected '{', found the end (byte 8)", ""),
    ("header null", file("null"), "expected '{'", ""),
    ("header array", file("[]"), "expected '{'", ""),
    ("leading space", file(" " + T + "}", Z), "", ""),
    ("leading newline", file("\n" + T + "}", Z), "", ""),
    ("trailing newline and tab", file(T + "}\n\t", Z), "", ""),
    ("trailing NUL", file(T + "}\0", Z), "goes on behind its end", ""),
    ("trailing garbage", file(T + "}x", Z), "goes on behind its end", ""),
    ("byte order mark", file(b"\xef\xbb\xbf" + (T + "}").encode(), Z), "expected '{'", ""),
    ("tensor twice, same", file(T + ',"t":' + tensor() + "}", Z), 'the tensor "t" stands twice', DUPLICATE),
    ("tensor twice, second valid", file('{"t":' + tensor(shape="[9]", offsets="[0,36]") + ',"t":' + tensor() + "}", Z), "claims bytes 0 to 36", DUPLICATE),
    ("field dtype twice", file('{"t":{"dtype":"F32","dtype":"I32","shape":[2],"data_offsets":[0,8]}}', Z), '"dtype" stands twice in tensor "t"', ""),
    ("__metadata__ twice", file(T + ',"__metadata__":{"a":"b"},"__metadata__":{"a":"c"}}', Z), '"__metadata__" stands twice', ""),
    ("name twice in metadata", file(T + ',"__metadata__":{"a":"b","a":"c"}}', Z), '"a" stands twice in the metadata', DUPLICATE),
    ("metadata number", file(T + ',"__metadata__":{"a":1}}', Z), "expected a string", ""),
    ("metadata null", file(T + ',"__metadata__":null}', Z), "expected '{'", "metadata are an object of strings"),
    ("metadata nested", file(T + ',"__metadata__":{"a":{"b":"c"}}}', Z), "expected a string", ""),
    ("metadata like a tensor", file('{"__metadata__":' + tensor() + "}", Z), "expected a string", ""),
    ("unknown field", file('{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}', Z), 'unknown field "x" in tensor "t"', UNKNOWN),
    ("shape missing", file('{"t":{"dtype":"F32","data_offsets":[0,8]}}', Z), "is missing", ""),
    ("dtype in lower case", file(one(dtype="f32"), Z), 'unknown dtype "f32"', ""),
    ("dtype unknown", file(one(dtype="Q4"), Z), 'unknown dtype "Q4"', ""),
    ("extent negative", file(one(shape="[-2]"), Z), "at least 0", ""),
    ("extent 2.0", file(one(shape="[2.0]"), Z), "expected a whole number", ""),
    ("extent 2e0", file(one(shape="[2e0]"), Z), "expected a whole number", ""),
    ("extent -0", file(one(shape="[-0]", offsets="[0,0]")), "expected a whole number", ""),
    ("extent 2^64", file(one(shape="[18446744073709551616]"), Z), "beyond 64 signed bits", ""),
    ("shape [2^63, 2]", file(one(shape="[9223372036854775808,2]", offsets="[0,0]")), "beyond 64 signed bits", ""),
    ("shape [0, 2^63, 2^63]", file(one(shape="[0,9223372036854775808,9223372036854775808]", offsets="[0,0]")), "beyond 64 signed bits", "whoever multiplies in another order overflows"),
    ("shape [2^63, 2^63, 0]", file(one(shape="[9223372036854775808,9223372036854775808,0]", offsets="[0,0]")), "beyond 64 signed bits", ""),
    ("extent a string", file(one(shape='["2"]'), Z), "expected a number", ""),
    ("offsets of 3", file(one(offsets="[0,8,8]"), Z), "expected ']'", ""),
    ("offsets of 1", file(one(offsets="[0]"), Z), "expected ','", ""),
    ("offsets reversed", file(one(offsets="[8,0]"), Z), "claims bytes 8 to 0", ""),
    ("hole at the beginning", file(one(offsets="[4,12]"), b"\0" * 12), "begins at byte 4", ""),
    ("hole in the middle", file('{"a":' + tensor(shape="[1]", offsets="[0,4]") + ',"b":' + tensor(shape="[1]", offsets="[8,12]") + "}", b"\0" * 12), "begins at byte 8", ""),
    ("overlap", file('{"a":' + tensor() + ',"b":' + tensor(offsets="[4,12]") + "}", b"\0" * 12), "begins at byte 4", ""),
    ("same range", file('{"a":' + tensor() + ',"b":' + tensor() + "}", Z), "begins at byte 0", ""),
    ("trailing data", file(T + "}", Z + b"x"), "1 bytes behind the last tensor", ""),
    ("data cut", file(T + "}", Z[:7]), "claims bytes 0 to 8 of 7", ""),
    ("data begin unaligned", file(T + "} ", Z), "", ""),
    ("tensor unaligned", file('{"a":' + tensor("U8", "[1]", "[0,1]") + ',"b":' + tensor(shape="[1]", offsets="[1,5]") + "}", b"\0" * 5), "", ""),
    ("header in another order than data", file('{"b":' + tensor(shape="[1]", offsets="[4,8]") + ',"a":' + tensor(shape="[1]", offsets="[0,4]") + "}", Z), "", ""),
    ("tensors of size zero", file('{"a":' + tensor(shape="[0]", offsets="[0,0]") + ',"b":' + tensor() + ',"c":' + tensor(shape="[3,0]", offsets="[8,8]") + "}", Z), "", ""),
    ("tensor of size zero within another", file('{"a":' + tensor(shape="[0]", offsets="[4,4]") + ',"b":' + tensor() + "}", Z), "begins at byte 4", ""),
    ("name empty", file(one(""), Z), "name of a tensor is empty", "no parameter has an empty name"),
    ("name with NUL", file(one("a\\u0000b"), Z), "holds a NUL", "C strings end there: two names would become one"),
    ("name with a lone surrogate", file(one("\\ud800"), Z), "half a surrogate pair", ""),
    ("name not UTF-8", file(b'{"\xff":' + tensor().encode() + b"}", Z), "malformed UTF-8", ""),
    ("name with a raw control character", file(one("\x01"), Z), "control character", ""),
    ("BOOL of value 2", file(one(dtype="BOOL", shape="[1]", offsets="[0,1]"), b"\x02"), "", ""),
    ("F4 shape [2]", file(one(dtype="F4", offsets="[0,1]"), b"\x02"), "", ""),
    ("F4 shape [1]", file(one(dtype="F4", shape="[1]", offsets="[0,1]"), b"\x02"), "ends within a byte", ""),
    ("N = 2^64-1", file(T + "}", Z, 2**64 - 1), "over the limit", ""),
    ("N = 2^64-8", file(T + "}", Z, 2**64 - 8), "over the limit", ""),
    ("N one too large", file(T + "}", Z, len(T) + 2), "claims bytes 0 to 8 of 7", ""),
    ("N = 100,000,001", file(T + "}", Z, 100000001), "over the limit", ""),
    ("unknown field nested 200", file('{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":' + "[" * 200 + "]" * 200 + "}}", Z), 'unknown field "x"', ""),
    ("unknown field nested 120", file('{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":' + "[" * 120 + "]" * 120 + "}}", Z), 'unknown field "x"', UNKNOWN),
    ("shape of 1000 extents", file(one(shape="[" + ",".join(["1"] * 1000) + "]", offsets="[0,4]"), b"\0" * 4), "more than 8 extents", "rank is limited to 8"),
    ("tensor as an array", file('{"t":["F32",[2],[0,8]]}', Z), "expected '{'", "the format's description knows objects only"),
    ("dtype escaped", file(one(dtype="F\\u0033\\u0032"), Z), "", ""),
    ("leading zero in an extent", file(one(shape="[02]"), Z), "leading zero", ""),
    ("metadata only", file('{"__metadata__":{"a":"b"}}'), "", ""),
]

cases = []
for name, content, error, why in CASES:
    try:
        safetensors.deserialize(content)
        reference = True
    except Exception:
        reference = False
    assert (reference == (error == "")) == (why == ""), name
    cases.append({"name": name, "hex": content.hex(), "reference": reference, "error": error, "why": why})
with open("cases.json", "w") as out:
    out.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
differ = [case["name"] for case in cases if case["reference"] != (case["error"] == "")]
print(len(cases), "cases;", sum(case["reference"] for case in cases), "accepted by the reference;", "differing:", differ)
