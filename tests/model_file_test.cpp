// Model files: what is saved comes back; what is damaged, hostile or of another network is refused.
#include "mien/io/model_file.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "nn_test.hpp"

using namespace mien;
using test::contains;
using test::message_of;

namespace {

using Bytes = std::vector<std::byte>;

/// Every kind of layer, and combinators inside each other.
template <class T>
Sequential<T> everything() {
  using S = Sequential<T>;
  S features{Conv2d{.filters = 4, .kernel = {3, 2}, .stride = {1, 2}, .padding = {1, 0, 2, 1}, .dilation = {2, 1}},
             BatchNorm2d{.epsilon = 1e-3f, .momentum = 0.2f},
             LeakyRelu{0.03f},
             Residual<T>{S{Conv2d{.filters = 4, .padding = 1, .groups = 4, .bias = false}, BatchNorm2d{}, Relu{}}},
             MaxPool2d{.window = {2, 3}, .stride = {2, 1}, .padding = {1, 0}, .ceil_mode = true},
             Concat<T>{S{}, S{Conv2d{.filters = 3, .kernel = 1}, Sigmoid{}},
                       S{Residual<T>{S{Conv2d{.filters = 2, .kernel = 1}}, S{Conv2d{.filters = 2, .kernel = 1}},
                                     "downsample"}}},
             AveragePool2d{.window = 2, .stride = 1, .padding = 1, .count_padding = false},
             AdaptiveAveragePool2d{{3, 2}}};
  S pooled{Dropout{0.25f}, GlobalAveragePool{}, Tanh{}};
  S flat{Flatten{}, Dense{.units = 6}, Dropout{0.4f}, Dense{.units = 5, .bias = false}};
  S net;
  net.add("features", std::move(features));
  net.add("heads", Concat<T>{std::move(pooled), std::move(flat)});
  net.add("classifier", S{Dense{.units = 3}, Softmax{}});
  net.build({10, 12, 2}, 7);
  // Statistics other than those of a new network.
  std::uint64_t i = 0;
  for (auto& p : net.parameters()) {
    if (p.role == Role::statistic) {
      for (auto& v : p.value) v = static_cast<parameter_t<T>>(Random(3, Stream::user).uniform(i++, 0.5f, 2.0f));
    }
  }
  return net;
}

ModelInfo some_info() {
  ModelInfo info;
  info.name = "t\xC3\xA9st \"net\"";
  info.classes = {"a", "b", "c"};
  info.preprocessing = {52, 44, 0.3f, 0.6f, 0.1f, 0.5077f, 0.255f, 0.125f};
  info.notes = {{"epochs", "12"}, {"data", "none"}};
  return info;
}

template <class T>
Tensor<T> answers(const Sequential<T>& net, std::uint64_t seed = 5) {
  Workspace workspace;
  return net.infer(test::random_tensor<T>(net.input_shape().with_batch(3), seed).view(), workspace);
}

template <class A, class B>
bool same_parameters(const Sequential<A>& a, const Sequential<B>& b) {
  if (a.parameters().size() != b.parameters().size()) return false;
  for (std::size_t i = 0; i < a.parameters().size(); ++i) {
    const auto &p = a.parameters()[i], &q = b.parameters()[i];
    if (p.name != q.name || p.role != q.role || p.columns != q.columns || p.frozen != q.frozen ||
        !test::same_bits(p.value, q.value))
      return false;
  }
  return true;
}

/// A saved model that can be changed: its tensors and metadata, written again with right checksums.
struct Open {
  Bytes bytes;
  Safetensors file;
  std::vector<SafetensorsEntry> entries;
  SafetensorsMetadata metadata;

  explicit Open(Bytes b) : bytes(std::move(b)), file(parse_safetensors(bytes)), entries(file.entries()) {
    for (const auto& pair : file.metadata()) {
      if (pair.first != "mien.crc32c" && pair.first.find("checksum") == std::string::npos &&
          pair.first.find("crc") == std::string::npos)
        metadata.push_back(pair);
    }
  }
  std::string& value(const std::string& key) {
    for (auto& [name, text] : metadata)
      if (name == key) return text;
    FAIL("no metadata " << key);
    return metadata[0].second;
  }
  void replace(const std::string& key, const std::string& from, const std::string& to) {
    std::string& text = value(key);
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    text.replace(at, from.size(), to);
  }
  void drop(const std::string& key) {
    std::erase_if(metadata, [&](const auto& pair) { return pair.first == key; });
  }
  Bytes write() const { return safetensors_bytes(entries, metadata); }
};

using S = Sequential<float>;

S small() {
  S net{Conv2d{.filters = 2, .padding = 1}, Relu{}, Flatten{}, Dense{3}};
  net.build({4, 5, 2}, 1);
  return net;
}

/// Whether byte `at` belongs to the name under which the header's checksum stands: without that name there is none.
bool names_checksum(const Bytes& bytes, std::size_t at) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string_view name = "mien.header_crc32c";
  const std::size_t found = text.find(name);
  REQUIRE(found != text.npos);
  return at >= found && at < found + name.size();
}

std::string refusal(const Bytes& bytes, const ModelLimits& limits = {}) {
  return message_of<FormatError>([&] { (void)load_model<float>(bytes, "it", limits); });
}

/// The message for a small model whose network is described by `json` instead.
std::string refusal_of(const std::string& json) {
  S net = small();
  Open open(model_bytes(net));
  open.value("mien.network") = json;
  return refusal(open.write());
}

}  // namespace

TEST_CASE_TEMPLATE("model file: every layer comes back", T, float, double, bfloat16) {
  Sequential<T> net = everything<T>();
  net.freeze("features");
  net.freeze("heads.1.1.weight");
  const ModelInfo info = some_info();
  const Tensor<float> bank = test::random_tensor<float>({4, 3}, 9);
  const Bytes bytes = model_bytes(net, info, {.extra = {{"bank", bank.view()}}});
  const Model<T> model = load_model<T>(bytes);
  CHECK(same_parameters(net, model.network));
  CHECK(model.network.frozen_names() == net.frozen_names());
  CHECK(model.network.frozen_prefix() == net.frozen_prefix());
  CHECK(model.network.input_shape() == net.input_shape());
  CHECK(test::same_bits(answers(net), answers(model.network)));
  CHECK(model.info.name == info.name);
  CHECK(model.info.classes == info.classes);
  CHECK(model.info.notes == info.notes);
  const Preprocessing &p = model.info.preprocessing, &q = info.preprocessing;
  CHECK(p.image_size == q.image_size);
  CHECK(p.crop == q.crop);
  CHECK(p.red == q.red);
  CHECK(p.green == q.green);
  CHECK(p.blue == q.blue);
  CHECK(p.mean == q.mean);
  CHECK(p.deviation == q.deviation);
  CHECK(p.margin == q.margin);
  REQUIRE(model.extra.size() == 1);
  CHECK(model.extra[0].first == "bank");
  REQUIRE(model.extra[0].second.shape() == bank.shape());
  for (index_t i = 0; i < bank.size(); ++i) {
    CHECK(model.extra[0].second[i] == static_cast<float>(bfloat16(bank[i])));
  }
  // What was read is saved as the same bytes.
  Model<T> again = load_model<T>(bytes);
  CHECK(model_bytes(again.network, again.info, {.extra = {{"bank", again.extra[0].second.view()}}}) == bytes);
  CHECK(network_to_json(again.network) == network_to_json(net));
}

TEST_CASE("model file: one file for every scalar") {
  Sequential<float> net = everything<float>();
  const Bytes bytes = model_bytes(net);
  const Model<double> wide = load_model<double>(bytes);
  const Model<bfloat16> coarse = load_model<bfloat16>(bytes);
  CHECK(same_parameters(net, coarse.network));  // a bfloat16 network keeps its parameters in float
  for (std::size_t i = 0; i < net.parameters().size(); ++i) {
    const auto& p = net.parameters()[i].value;
    const auto& q = wide.network.parameters()[i].value;
    for (index_t k = 0; k < p.size(); ++k) CHECK(static_cast<double>(p[k]) == q[k]);
  }
  const Tensor<float> x = test::random_tensor<float>({2, 10, 12, 2}, 4);
  Tensor<double> xd(x.shape());
  Tensor<bfloat16> xb(x.shape());
  for (index_t i = 0; i < x.size(); ++i) {
    xd[i] = static_cast<double>(x[i]);
    xb[i] = bfloat16(x[i]);
  }
  Workspace workspace;
  const Tensor<float> y = net.infer(x.view(), workspace);
  const Tensor<double> yd = wide.network.infer(xd.view(), workspace);
  const Tensor<bfloat16> yb = coarse.network.infer(xb.view(), workspace);
  CHECK(test::largest_difference(y, yd) < 1e-5);
  Tensor<float> rounded(y.shape());
  for (index_t i = 0; i < y.size(); ++i) rounded[i] = static_cast<float>(yb[i]);
  CHECK(test::largest_difference(rounded, y) < 0.05);
}

TEST_CASE("model file: parameters stored as bfloat16") {
  S net = everything<float>();
  const Bytes full = model_bytes(net), half = model_bytes(net, {}, {.bfloat16_storage = true});
  CHECK(half.size() < full.size());
  const Model<float> model = load_model<float>(half);
  for (std::size_t i = 0; i < net.parameters().size(); ++i) {
    const auto &p = net.parameters()[i], &q = model.network.parameters()[i];
    CAPTURE(p.name);
    bool equal = true;
    for (index_t k = 0; k < p.value.size(); ++k) {
      const float expected = p.role == Role::statistic ? p.value[k] : static_cast<float>(bfloat16(p.value[k]));
      equal = equal && q.value[k] == expected;
    }
    CHECK(equal);
  }
}

TEST_CASE("model file: convolutions and dense layers stand in PyTorch's order") {
  S net{Conv2d{.filters = 3, .kernel = {2, 3}}, MaxPool2d{1}, Relu{}, Flatten{}, Dropout{}, Dense{4}, Dense{2}};
  net.build({4, 5, 2}, 1);  // behind the convolution: 3 x 3 x 3
  for (auto& p : net.parameters())
    for (index_t i = 0; i < p.value.size(); ++i) p.value[i] = static_cast<float>(i);
  const Bytes bytes = model_bytes(net);
  const Safetensors file = parse_safetensors(bytes);
  const auto shape = [&](const char* name) { return file.find(name)->shape(); };
  CHECK(shape("0.weight") == Shape{3, 2, 2, 3});  // filters, channels, height, width
  CHECK(shape("0.bias") == Shape{3});
  CHECK(shape("5.weight") == Shape{4, 27});
  CHECK(shape("6.weight") == Shape{2, 4});
  CHECK(test::same_bits(read_tensor<float>(*file.find("0.weight")), net.parameter("0.weight").value));
  CHECK(test::same_bits(read_tensor<float>(*file.find("6.weight")), net.parameter("6.weight").value));
  // Column (channel, row, column) in the file is (row, column, channel) in memory.
  const Tensor<float> stored = read_tensor<float>(*file.find("5.weight"));
  for (index_t unit = 0; unit < 4; ++unit)
    for (index_t c = 0; c < 3; ++c)
      for (index_t y = 0; y < 3; ++y)
        for (index_t x = 0; x < 3; ++x) {
          CHECK(stored[unit * 27 + c * 9 + y * 3 + x] == static_cast<float>(unit * 27 + (y * 3 + x) * 3 + c));
        }
  CHECK(same_parameters(net, load_model<float>(bytes).network));

  S other = small();
  other = S{Conv2d{.filters = 3, .kernel = {2, 3}}, MaxPool2d{1}, Relu{}, Flatten{}, Dropout{}, Dense{4}, Dense{2}};
  other.build({4, 5, 2}, 77);
  load_parameters(other, file);
  CHECK(same_parameters(net, other));
}

TEST_CASE("model file: a normalization of flattened images stands in PyTorch's order") {
  S net{Conv2d{.filters = 3}, Flatten{}, BatchNorm2d{}, Dense{4}};
  net.build({4, 5, 2}, 1);  // behind the convolution: 2 x 3 x 3
  for (auto& p : net.parameters())
    for (index_t i = 0; i < p.value.size(); ++i) p.value[i] = static_cast<float>(i + 1);
  const Bytes bytes = model_bytes(net);
  const Safetensors file = parse_safetensors(bytes);
  for (const char* name : {"2.weight", "2.bias", "2.running_mean", "2.running_var"}) {
    const Tensor<float> stored = read_tensor<float>(*file.find(name));
    for (index_t c = 0; c < 3; ++c)
      for (index_t pixel = 0; pixel < 6; ++pixel) CHECK(stored[c * 6 + pixel] == static_cast<float>(pixel * 3 + c + 1));
  }
  CHECK(same_parameters(net, load_model<float>(bytes).network));
}

TEST_CASE("model file: PyTorch's count of batches is written and not asked for") {
  S net{Conv2d{.filters = 2}, BatchNorm2d{}};
  net.build({4, 4, 1}, 1);
  Open open(model_bytes(net));
  REQUIRE(open.file.find("1.num_batches_tracked") != nullptr);
  CHECK(open.file.find("1.num_batches_tracked")->shape().rank() == 0);
  std::erase_if(open.entries, [](const auto& e) { return e.name == "1.num_batches_tracked"; });
  CHECK(same_parameters(load_model<float>(open.write()).network, net));
}

TEST_CASE("model file: tensors that do not fit are listed all at once") {
  S net = small();
  Open open(model_bytes(net));
  const Tensor<float> wrong(Shape{3, 2}), surplus(Shape{2});
  const Tensor<std::int64_t> whole(Shape{2});
  std::vector<SafetensorsEntry> entries;
  for (const auto& e : open.entries) {
    if (e.name == "0.bias") {
      entries.push_back(SafetensorsEntry::of("0.bias", whole));
    } else if (e.name == "3.weight") {
      entries.push_back(SafetensorsEntry::of("3.weight", wrong));
    } else if (e.name != "3.bias") {
      entries.push_back(e);
    }
  }
  entries.push_back(SafetensorsEntry::of("9.weight", surplus));
  open.entries = entries;
  const Bytes bytes = open.write();
  const auto check = [](const std::string& message) {
    CAPTURE(message);
    CHECK(contains(message, "missing: 3.bias (3)"));
    CHECK(contains(message, "mis-shaped: \"3.weight\": F32 (3, 2), expected (3, 40)"));
    CHECK(contains(message, "of another type: \"0.bias\": I64"));
    CHECK(contains(message, "unexpected: \"9.weight\""));
    CHECK_FALSE(contains(message, "0.weight"));
  };
  check(refusal(bytes));
  S before = net;
  check(message_of<FormatError>([&] { load_parameters(net, parse_safetensors(bytes)); }));
  CHECK(same_parameters(net, before));

  // Another network: all of its tensors.
  S other{Conv2d{.filters = 2}, BatchNorm2d{}, Dense{3}};
  other.build({5, 5, 1}, 1);
  const Bytes foreign = model_bytes(other);
  const std::string message =
      message_of<FormatError>([&] { load_parameters(net, parse_safetensors(foreign), "foreign.safetensors"); });
  CHECK(contains(message, "foreign.safetensors"));
  CHECK(contains(message, "unexpected: \"1.running_mean\""));
  CHECK(same_parameters(net, before));
  // A long list is cut.
  S many;
  for (int i = 0; i < 40; ++i) many.add(Dense{2});
  many.build({2}, 1);
  CHECK(contains(message_of<FormatError>([&] { load_parameters(many, parse_safetensors(foreign)); }), "more"));
}

TEST_CASE("model file: a network with many outputs comes back") {
  S net{Conv2d{.filters = 3, .padding = 1}};  // 196,608 of them
  net.build({256, 256, 1}, 3);
  const Bytes bytes = model_bytes(net);
  CHECK(bytes.size() < 100'000);
  CHECK(same_parameters(load_model(bytes).network, net));
}

TEST_CASE("model file: damage is found") {
  S net = small();
  const Bytes good = model_bytes(net, some_info());
  CHECK(same_parameters(load_model<float>(good).network, net));
  // Every cut.
  for (std::size_t length = 0; length < good.size(); length += length < 200 ? 1 : 97) {
    CAPTURE(length);
    CHECK(contains(refusal({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length)}), "it"));
  }
  // Every flipped byte, of the data and of the header.
  for (std::size_t at = 0; at < good.size(); at += at < 64 ? 1 : 13) {
    if (names_checksum(good, at)) continue;
    CAPTURE(at);
    Bytes bad = good;
    bad[at] ^= std::byte{0x10};
    CHECK(contains(refusal(bad), "it"));
  }
  // A parameter changed by someone who puts the checksums right.
  Open open(good);
  Tensor<float> weight = net.parameter("3.weight").value;
  for (float& v : weight) v += 0.5f;
  for (auto& e : open.entries)
    if (e.name == "3.weight") e = SafetensorsEntry::of("3.weight", weight);
  CHECK(contains(refusal(open.write()), "self test fails"));
  for (float& v : weight) v = std::numeric_limits<float>::quiet_NaN();
  CHECK(contains(refusal(open.write()), "self test fails"));
  // A network that is broken is not written.
  net.parameter("3.bias").value[0] = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(model_bytes(net), NumericError);
  S not_built{Dense{2}};
  CHECK_THROWS_AS(model_bytes(not_built), ArgumentError);
  ModelInfo info;
  info.preprocessing.crop = 64;  // out of pictures of 48
  CHECK_THROWS_AS(model_bytes(net, info), ArgumentError);
  info.preprocessing = {};
  info.preprocessing.deviation = 0;
  CHECK_THROWS_AS(model_bytes(net, info), ArgumentError);
}

TEST_CASE("model file: metadata that are missing, wrong or hostile") {
  S net = small();
  const Open good(model_bytes(net, some_info()));
  for (const char* key : {"mien.network", "mien.model"}) {
    Open open = good;
    open.drop(key);
    CHECK(contains(refusal(open.write()), key));
  }
  {
    Open open = good;  // weights alone
    open.metadata.clear();
    CHECK(contains(refusal(open.write()), "load_parameters"));
  }
  const auto changed = [&](const char* key, const char* from, const char* to) {
    Open open = good;
    open.replace(key, from, to);
    return refusal(open.write());
  };
  CHECK(contains(changed("mien.model", "\"crop\":44", "\"crop\":60"), "preprocessing.crop"));
  CHECK(contains(changed("mien.model", "\"crop\":44", "\"crop\":-1"), "preprocessing.crop"));
  CHECK(contains(changed("mien.model", "\"image_size\":52", "\"image_size\":1000000"), "image_size"));
  CHECK(contains(changed("mien.model", "\"margin\"", "\"margim\""), "margim"));
  CHECK(contains(changed("mien.model", "[\"a\",", "[1,"), "classes"));
  CHECK(contains(changed("mien.self_test", "[", "[1.0,"), "number of outputs"));
  CHECK(contains(changed("mien.frozen", "[]", "[\"nobody\"]"), "nobody"));
  CHECK(contains(changed("mien.frozen", "[]", "{"), "it"));
  CHECK(contains(changed("mien.network", "\"Relu\"", "\"Rellu\""), "Rellu"));
}

TEST_CASE("model file: a hostile network is refused before memory is taken") {
  const auto layers = [](const std::string& list) { return R"({"input":[4,5,2],"layers":[)" + list + "]}"; };
  const auto pool = [](const std::string& height, const std::string& width) {
    return R"({"name":"p","kind":"AdaptiveAveragePool2d","output_height":)" + height + R"(,"output_width":)" + width +
           "}";
  };
  const std::string relu = R"({"name":"r","kind":"Relu"})";
  CHECK(contains(refusal_of(layers("")), "without layers"));
  CHECK(contains(refusal_of(R"({"input":[],"layers":[]})"), "input"));
  CHECK(contains(refusal_of(R"({"input":[1,1,1,1,1],"layers":[]})"), "input"));
  CHECK(contains(refusal_of(R"({"input":[0],"layers":[]})"), "input"));
  CHECK(contains(refusal_of(R"({"input":[-4,5,2],"layers":[]})"), "input[0]"));
  CHECK(contains(refusal_of(R"({"input":[4.5,5,2],"layers":[]})"), "input[0]"));
  CHECK(contains(refusal_of(R"({"input":[9223372036854775807],"layers":[]})"), "input[0]"));
  CHECK(contains(refusal_of(R"({"input":[1048576,1048576,1048576],"layers":[]})"), "shape"));
  CHECK(contains(refusal_of(R"({"input":[1048576,1048576,16],"layers":[)" + relu + "]}"), "values"));
  CHECK(contains(refusal_of(layers(pool("0", "1"))), "positive"));
  CHECK(contains(refusal_of(layers(pool("1048577", "1"))), "1048577"));
  // Many values: at the end, in the middle, and in branches of which each is small enough.
  CHECK(contains(refusal_of(layers(pool("1048576", "1048576"))), "values"));
  CHECK(contains(refusal_of(layers(pool("65536", "32768") + R"(,{"name":"g","kind":"GlobalAveragePool"})")), "values"));
  std::string branches;
  for (int i = 0; i < 64; ++i) {
    branches += (i ? "," : "") + std::string(R"({"name":")") + std::to_string(i) + R"(","layers":[)" +
                pool("1048576", "1048576") + "]}";
  }
  CHECK(contains(refusal_of(layers(R"({"name":"c","kind":"Concat","branches":[)" + branches + "]}")), "values"));
  // Much work on few values.
  const std::string wide =
      R"({"input":[4000,4000,1],"layers":[{"name":"p","kind":"AveragePool2d","window_height":1000,)"
      R"("window_width":1000,"stride_height":1,"stride_width":1,"padding_top":0,"padding_left":0,)"
      R"("padding_bottom":0,"padding_right":0,"ceil_mode":false,"count_padding":true}]})";
  CHECK(contains(refusal_of(wide), "multiply-adds"));
  // Settings.
  const auto conv = [&](const std::string& name, const std::string& value) {
    std::string text =
        R"({"name":"c","kind":"Conv2d","filters":2,"kernel_height":3,"kernel_width":3,"stride_height":1,)"
        R"("stride_width":1,"padding_top":1,"padding_left":1,"padding_bottom":1,"padding_right":1,)"
        R"("dilation_height":1,"dilation_width":1,"groups":1,"bias":true})";
    const std::size_t at = text.find("\"" + name + "\":") + name.size() + 3;
    return text.replace(at, text.find_first_of(",}", at) - at, value);
  };
  for (const char* name : {"filters", "kernel_height", "stride_width", "dilation_height", "groups"}) {
    CAPTURE(name);
    CHECK(contains(refusal_of(layers(conv(name, "0"))), "positive"));
    CHECK(contains(refusal_of(layers(conv(name, "-1"))), name));
    CHECK(contains(refusal_of(layers(conv(name, "1e3"))), name));
    CHECK(contains(refusal_of(layers(conv(name, "4294967297"))), name));
  }
  CHECK(contains(refusal_of(layers(conv("groups", "3"))), "multiples of groups"));
  CHECK(contains(refusal_of(layers(conv("bias", "1"))), "bias"));
  CHECK(contains(refusal_of(layers(conv("filters", "1000"))), "missing: c.weight (1000, 2, 3, 3)"));
  CHECK(contains(refusal_of(layers(conv("filters", "1048576"))), "values"));
  CHECK(contains(refusal_of(layers(conv("padding_top", "1048576"))), "do not fit"));
  CHECK(contains(refusal_of(layers(R"({"name":"d","kind":"Dropout","rate":1.0})")), "rate"));
  CHECK(contains(refusal_of(layers(R"({"name":"d","kind":"Dropout"})")), "rate"));
  CHECK(contains(refusal_of(layers(R"({"name":"r","kind":"Relu","slope":1})")), "no such settings"));
  CHECK(contains(refusal_of(layers(R"({"name":"","kind":"Relu"})")), "name"));
  CHECK(contains(refusal_of(layers(relu + "," + relu)), "two layers"));
  CHECK(contains(refusal_of(layers(R"({"name":"r","kind":"Relu","branches":[]})")), "branches"));
  CHECK(contains(refusal_of(layers(R"({"name":"r","kind":"Residual","branches":[{"name":"","layers":[]}]})")),
                 "branches"));
  CHECK(contains(refusal_of(layers(R"({"name":"r","kind":"Concat","branches":[]})")), "at least one branch"));
}

TEST_CASE("model file: nests without end, and a million layers") {
  std::string deep = R"({"name":"r","kind":"Relu"})";
  for (int i = 0; i < 1000; ++i) {
    deep = R"({"name":"c","kind":"Concat","branches":[{"name":"0","layers":[)" + deep + "]}]}";
  }
  CHECK(contains(refusal_of(R"({"input":[4],"layers":[)" + deep + "]}"), "nested deeper than 128"));
  std::string many = R"({"input":[4],"layers":[)";
  for (int i = 0; i < 1'000'000; ++i) many += i ? ",{}" : "{}";
  CHECK_FALSE(refusal_of(many + "]}").empty());
  many = R"({"input":[4],"layers":[)";
  for (int i = 0; i < 10'001; ++i) {
    many += (i ? "," : "") + std::string(R"({"name":")") + std::to_string(i) + R"(","kind":"Relu"})";
  }
  CHECK(contains(refusal_of(many + "]}"), "10000 layers"));
}

TEST_CASE("model file: thirty combinators in one another come back") {
  S net{Dense{2}};
  for (int i = 0; i < 30; ++i) {
    S outer;
    if (i % 2 == 0) {
      outer.add(Residual<float>{std::move(net)});
    } else {
      outer.add(Concat<float>{std::vector<S>{std::move(net)}});
    }
    net = std::move(outer);
  }
  net.build({2}, 1);
  const Model<float> model = load_model<float>(model_bytes(net));
  CHECK(same_parameters(net, model.network));
  CHECK(test::same_bits(answers(net), answers(model.network)));
}

TEST_CASE("model file: a layer called like tensors beside the network") {
  S net;
  net.add("extra", Dense{2});
  net.build({3}, 1);
  const Tensor<float> bank = test::random_tensor<float>({4, 3}, 9);
  const Model<float> model = load_model<float>(model_bytes(net, {}, {.extra = {{"bank", bank.view()}}}));
  CHECK(same_parameters(net, model.network));
  REQUIRE(model.extra.size() == 1);
  CHECK(model.extra[0].first == "bank");
}

TEST_CASE("model file: what could not be read is not saved") {
  S wide{Dense{(1 << 20) + 1}};
  wide.build({1}, 1);
  CHECK(contains(message_of<ArgumentError>([&] { (void)model_bytes(wide); }), "units"));
  S input{Dense{1}};
  input.build({(1 << 20) + 1}, 1);
  CHECK(contains(message_of<ArgumentError>([&] { (void)model_bytes(input); }), "input"));
  S net = small();
  ModelInfo info = some_info();
  info.preprocessing.deviation = 1e-6f;  // the least of its range
  CHECK(load_model<float>(model_bytes(net, info)).info.preprocessing.deviation == 1e-6f);
}

TEST_CASE("model file: limits can be set") {
  S net = small();
  const Bytes bytes = model_bytes(net);
  CHECK(contains(refusal(bytes, {.sample = 39}), "values"));
  CHECK(contains(refusal(bytes, {.values = 50}), "values"));
  CHECK(contains(refusal(bytes, {.multiply_adds = 500}), "multiply-adds"));
  CHECK(contains(refusal(bytes, {.bytes = 10}), "memory"));
}

TEST_CASE("delta: only what was trained, only over its base") {
  S base = everything<float>();
  base.freeze("features");
  const std::uint32_t mark = fingerprint(base);
  S trained = base;
  for (auto& p : trained.parameters())
    if (!p.frozen)
      for (float& v : p.value) v *= 1.5f;
  CHECK(fingerprint(trained) != mark);
  const Bytes delta = delta_bytes(trained, mark, {{"person", "x"}});
  CHECK(delta.size() < model_bytes(base).size());
  const Safetensors content = parse_safetensors(delta);
  for (const auto& entry : content.entries()) CHECK_FALSE(covers("features", entry.name));
  CHECK(*content.find_metadata("note.person") == "x");

  S applied = base;
  apply_delta(applied, delta);
  CHECK(same_parameters(applied, trained));
  CHECK(test::same_bits(answers(applied), answers(trained)));
  // The base read from its file is the same base, for bfloat16 too.
  Model<bfloat16> read = load_model<bfloat16>(model_bytes(base));
  apply_delta(read.network, delta);
  CHECK(same_parameters(read.network, trained));

  // Another base, by one bit.
  S other = base;
  other.parameters()[0].value[0] = std::nextafter(other.parameters()[0].value[0], 100.0f);
  const S before = other;
  CHECK(contains(message_of<FormatError>([&] { apply_delta(other, delta, "p.delta"); }), "p.delta"));
  CHECK(same_parameters(other, before));
  // Twice: the base is no longer the base.
  CHECK_THROWS_AS(apply_delta(applied, delta), FormatError);
  CHECK(same_parameters(applied, trained));
  // No delta, a damaged one, one with a tensor that does not fit, one that changes nothing for lack of a float.
  CHECK_THROWS_AS(apply_delta(other, model_bytes(base)), FormatError);
  for (std::size_t at = 0; at < delta.size(); at += 41) {
    if (names_checksum(delta, at)) continue;
    CAPTURE(at);
    Bytes bad = delta;
    bad[at] ^= std::byte{4};
    S unchanged = base;
    CHECK_THROWS_AS(apply_delta(unchanged, bad), FormatError);
    CHECK(same_parameters(unchanged, base));
  }
  for (const bool integer : {false, true}) {
    Open open(delta);
    const Tensor<std::int64_t> whole(open.entries.back().shape());
    const Tensor<float> wrong(Shape{1});
    const std::string name = open.entries.back().name;
    open.entries.back() = integer ? SafetensorsEntry::of(name, whole) : SafetensorsEntry::of(name, wrong);
    S unchanged = base;
    const Bytes bad = open.write();
    CHECK(contains(message_of<FormatError>([&] { apply_delta(unchanged, bad); }), name));
    CHECK(same_parameters(unchanged, base));
  }
}

TEST_CASE("model file: on disk") {
  S net = small();
  const std::string path = "model_file_test.safetensors";
  save(net, path, some_info());
  CHECK(same_parameters(load(path).network, net));
  const std::uint32_t mark = fingerprint(net);
  S trained = net;
  for (float& v : trained.parameter("3.weight").value) v += 1;
  save_delta(trained, mark, "model_file_test.delta");
  load_delta(net, "model_file_test.delta");
  CHECK(same_parameters(net, trained));
  CHECK(contains(message_of<FileError>([] { (void)load("no/such.safetensors"); }), "no/such.safetensors"));
  CHECK(contains(message_of<FormatError>([&] { load_delta(net, path); }), path));
  CHECK(contains(message_of<FileError>([&] { (void)load(path, {.file = 100}); }), "more than the 100"));
  CHECK(contains(message_of<FormatError>([&] { (void)load(path, {.multiply_adds = 500}); }), "multiply-adds"));
  CHECK(contains(message_of<FileError>([&] { load_delta(net, "model_file_test.delta", {.file = 10}); }), "more than"));
  std::remove(path.c_str());
  std::remove("model_file_test.delta");
}
