// Model files: a network with its preprocessing and class names in one .safetensors file, and deltas over one.
#pragma once

#include <cmath>
#include <optional>

#include "mien/io/model_limits.hpp"
#include "mien/io/safetensors.hpp"

namespace mien {

/// How a picture becomes the network's input. A model without it cannot be served right.
struct Preprocessing {
  /// A face is cropped, turned gray and resized to image_size x image_size; the network reads the centre
  /// (crop x crop) of that. 1 <= crop <= image_size <= 4096.
  index_t image_size = 48;
  index_t crop = 48;
  /// Gray = weights of red, green and blue (0 to 1), applied to bytes.
  float red = 0.299f, green = 0.587f, blue = 0.114f;
  /// Value = (gray / 255 - mean) / deviation; the mean within a million, the deviation from 1e-6 to a million.
  float mean = 0, deviation = 1;
  /// A detector's box is enlarged by this share of its side (0 to 10) on every side before it is cropped.
  float margin = 0;
};

/// What a model file holds beside the network.
struct ModelInfo {
  std::string name;
  std::vector<std::string> classes;
  Preprocessing preprocessing;
  /// How it was trained and what it reached, as text for people: (name, value).
  SafetensorsMetadata notes = {};
};

/// A network read from a file.
template <class T>
struct Model {
  Sequential<T> network;
  ModelInfo info;
  /// Other tensors of the file, such as a bank of features.
  std::vector<std::pair<std::string, Tensor<float>>> extra = {};
};

struct SaveOptions {
  /// Store parameters rounded to bfloat16: half the size. Statistics stay float.
  bool bfloat16_storage = false;
  /// Tensors to store beside the network's, under "extra.NAME", rounded to bfloat16.
  std::vector<std::pair<std::string, TensorView<const float>>> extra = {};
};

namespace detail {

/// The columns of a dense weight, or values of one row, between NHWC order (memory) and NCHW order (files).
template <class P>
void permute_columns(const Shape& columns, TensorView<const P> from, TensorView<P> to, bool to_file) {
  const index_t area = columns[0] * columns[1], channels = columns[2], width = area * channels;
  for (index_t row = 0; row < from.size() / width; ++row)
    for (index_t p = 0; p < area; ++p)
      for (index_t c = 0; c < channels; ++c) {
        const index_t nhwc = row * width + p * channels + c, nchw = row * width + c * area + p;
        if (to_file) {
          to[nchw] = from[nhwc];
        } else {
          to[nhwc] = from[nchw];
        }
      }
}

inline bool has_columns(const Shape& columns) { return columns.rank() == 3 && columns.size() > columns[2]; }

/// A parameter as files hold it.
template <class P>
MIEN_COLD Tensor<P> to_file_order(const Parameter<P>& p) {
  if (!has_columns(p.columns)) return p.value;
  Tensor<P> result(p.value.shape());
  permute_columns<P>(p.columns, p.value.view(), result.view(), true);
  return result;
}

template <class P>
void from_file_order(const SafetensorsEntry& entry, Parameter<P>& p) {
  if (!has_columns(p.columns)) return read_tensor<P>(entry, p.value.span());
  const Tensor<P> stored = read_tensor<P>(entry);
  permute_columns<P>(p.columns, stored.view(), p.value.view(), false);
}

/// The input of a file's self test: fixed pseudo-random values in [-1, 1].
template <class T>
MIEN_COLD Tensor<T> self_test_input(const Shape& sample) {
  Tensor<T> x(sample.with_batch(1));
  const Random random(0, Stream::user);
  for (index_t i = 0; i < x.size(); ++i) x[i] = T(random.uniform(static_cast<std::uint64_t>(i), -1, 1));
  return x;
}

/// The first `most` outputs for it: files have room for as many, whatever the network gives.
template <class T>
MIEN_COLD std::vector<double> self_test_output(const Sequential<T>& net, std::size_t most = 1000) {
  Workspace workspace;
  const Tensor<T> y = net.infer(self_test_input<T>(net.input_shape()).view(), workspace);
  std::vector<double> values;
  for (const T& value : y.span().first(std::min(y.span().size(), most)))
    values.push_back(static_cast<double>(static_cast<parameter_t<T>>(value)));
  return values;
}

/// Throws ArgumentError for what load_model() would refuse.
void check_info(const ModelInfo& info);

Json info_to_json(const ModelInfo& info);

ModelInfo info_from_json(JsonView json);

const std::string& need_metadata(const Safetensors& file, const char* key, std::string_view what);

/// Names of PyTorch's that mien has no use for.
inline bool is_ignored(std::string_view name) {
  constexpr std::string_view suffix = "num_batches_tracked";
  return name.size() >= suffix.size() && name.substr(name.size() - suffix.size()) == suffix;
}

/// Throws FormatError listing every tensor that is missing, mis-shaped, not of numbers with a point, or unexpected.
/// Declared: name and shape each. Returns which of the file's entries are declared.
template <class Declared>
MIEN_COLD std::vector<bool> check_tensors(const Safetensors& file, const std::vector<Declared>& declared,
                                          std::string_view what, std::string_view extra_prefix = "extra.") {
  std::string problems;
  std::size_t count = 0;
  const auto report = [&](const std::string& line) {
    if (++count <= 20) problems += "\n  " + line;
  };
  std::vector<bool> expected(file.entries().size());
  for (const auto& [name, shape] : declared) {
    const SafetensorsEntry* entry = file.find(name);
    if (entry != nullptr) expected[static_cast<std::size_t>(entry - file.entries().data())] = true;
    if (entry == nullptr) {
      report("missing: " + std::string(name) + " " + shape.to_string());
    } else if (entry->rank > Shape::max_rank || entry->shape() != shape) {
      report("mis-shaped: " + entry->describe() + ", expected " + shape.to_string());
    } else if (entry->dtype != Dtype::f32 && entry->dtype != Dtype::f64 && entry->dtype != Dtype::f16 &&
               entry->dtype != Dtype::bf16) {
      report("of another type: " + entry->describe() + ", expected F32, F64, F16 or BF16");
    }
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const SafetensorsEntry& entry = file.entries()[i];
    if (expected[i] || is_ignored(entry.name)) continue;
    if (!extra_prefix.empty() && entry.name.compare(0, extra_prefix.size(), extra_prefix) == 0) continue;
    report("unexpected: " + entry.describe());
  }
  if (count == 0) return expected;
  if (count > 20) problems += "\n  and " + std::to_string(count - 20) + " more";
  fail<FormatError>({what, ": its tensors do not fit the network:", problems});
}

template <class P>
MIEN_COLD std::vector<std::pair<std::string_view, Shape>> names_and_shapes(std::span<const Parameter<P>> parameters) {
  std::vector<std::pair<std::string_view, Shape>> list;
  for (const Parameter<P>& p : parameters) list.emplace_back(p.name, p.value.shape());
  return list;
}

}  // namespace detail

/// The bytes of a model file. See save().
template <class T>
MIEN_COLD std::vector<std::byte> model_bytes(Sequential<T>& net, const ModelInfo& info = {},
                                             const SaveOptions& options = {}) {
  using P = parameter_t<T>;
  if (!net.built()) fail<ArgumentError>("build the network before saving it");
  std::vector<SafetensorsEntry> entries;
  std::vector<Tensor<P>> values;
  std::vector<Tensor<bfloat16>> rounded;
  const std::size_t count = net.parameters().size();
  values.reserve(count);  // entries view them
  rounded.reserve(count + options.extra.size());
  Sequential<T> stored = net;
  const Tensor<std::int64_t> zero(Shape{});
  for (Parameter<P>& p : stored.parameters()) {
    values.push_back(detail::to_file_order(p));
    if (options.bfloat16_storage && p.role != Role::statistic) {
      rounded.emplace_back(p.value.shape());
      for (index_t i = 0; i < p.value.size(); ++i) {
        rounded.back()[i] = bfloat16(static_cast<float>(values.back()[i]));
        p.value[i] = P(bfloat16(static_cast<float>(p.value[i])));
      }
      entries.push_back(SafetensorsEntry::of(p.name, rounded.back()));
    } else {
      entries.push_back(SafetensorsEntry::of(p.name, values.back()));
    }
    // What PyTorch's strict loading asks of a normalization layer.
    const std::string_view suffix = ".running_var", name = p.name;
    if (p.role == Role::statistic && name.size() > suffix.size() &&
        name.substr(name.size() - suffix.size()) == suffix) {
      entries.push_back(SafetensorsEntry::of(
          std::string(name.substr(0, name.size() - suffix.size())) + ".num_batches_tracked", zero));
    }
  }
  for (const auto& [name, tensor] : options.extra) {
    rounded.emplace_back(tensor.shape());
    for (index_t i = 0; i < tensor.size(); ++i) rounded.back()[i] = bfloat16(tensor[i]);
    entries.push_back(SafetensorsEntry::of("extra." + name, rounded.back()));
  }
  detail::check_info(info);
  const std::vector<double> logits = detail::self_test_output(stored);
  for (double value : logits) {
    if (!std::isfinite(value)) fail<NumericError>("the network gives values that are not finite; it is not saved");
  }
  SafetensorsMetadata metadata = {
      {"format", "pt"},
      {"mien.version", MIEN_VERSION},
      {"mien.network", network_to_json(net).write()},
      {"mien.model", detail::info_to_json(info).write()},
      {"mien.self_test",
       Json::object({{"scalar", std::same_as<T, bfloat16> ? "bfloat16" : "float"}, {"output", Json::array_of(logits)}})
           .write()},
      {"mien.frozen", Json::array_of(net.frozen_names()).write()}};
  for (const auto& note : info.notes) metadata.push_back({"note." + note.first, note.second});
  return safetensors_bytes(entries, metadata);
}

/// Reads a model file from memory. The network comes built, with what was frozen frozen. Everything is checked before
/// memory is taken for parameters, and at last the file's own test: a fixed input must give the stored output. Throws
/// FormatError, beginning with `what`, that says what is wrong; tensors that do not fit are listed all at once.
template <class T = float>
MIEN_COLD Model<T> load_model(std::span<const std::byte> bytes, std::string_view what = "model file",
                              const ModelLimits& model_limits = {}) {
  const Safetensors file = parse_safetensors(bytes, {}, what);
  const JsonLimits& limits = model_limits.json;
  Model<T> model;
#if MIEN_HAS_EXCEPTIONS
  try {
#endif
    const Json network = Json::parse(detail::need_metadata(file, "mien.network", what), limits);
    const Json info = Json::parse(detail::need_metadata(file, "mien.model", what), limits);
    auto [chain, input] = network_from_json<T>(network);
    if (chain.layer_count() == 0) fail<FormatError>("a network without layers");
    Setup setup;
    chain.setup({input, {}}, setup);
    detail::check_cost(chain, input, model_limits);
    std::vector<std::pair<std::string_view, Shape>> declared;
    for (const Declaration& d : setup.declarations) declared.emplace_back(d.name, d.shape);
    const std::vector<bool> own = detail::check_tensors(file, declared, "model");
    model.network = std::move(chain);
    model.network.build(input);
    for (auto& p : model.network.parameters()) detail::from_file_order(*file.find(p.name), p);
    model.info = detail::info_from_json(info);
    if (const std::string* frozen = file.find_metadata("mien.frozen")) {
      const Json names = Json::parse(*frozen, limits);
      for (const std::string& name : JsonView(names).as_strings()) model.network.freeze(name);
    }
    for (std::size_t i = 0; i < own.size(); ++i) {
      const SafetensorsEntry& entry = file.entries()[i];
      if (!own[i] && entry.name.compare(0, 6, "extra.") == 0) {
        model.extra.emplace_back(entry.name.substr(6), read_tensor<float>(entry));
      }
    }
    for (const auto& [key, value] : file.metadata()) {
      if (key.compare(0, 5, "note.") == 0) model.info.notes.emplace_back(key.substr(5), value);
    }
    if (const std::string* text = file.find_metadata("mien.self_test")) {
      const Json test = Json::parse(*text, limits);
      const std::vector<double> expected = test["output"].as_numbers();
      // Files of earlier versions have all of them.
      const std::vector<double> got =
          detail::self_test_output(model.network, std::max(expected.size(), std::size_t{1000}));
      if (expected.size() != got.size()) fail<FormatError>("its self test has another number of outputs");
      const bool coarse = std::same_as<T, bfloat16> || test["scalar"].as_string() == "bfloat16";
      double largest = 0;
      for (double value : expected) largest = std::max(largest, std::abs(value));
      const double tolerance = (coarse ? 0.1 : 1e-3) * (1 + largest);
      for (std::size_t i = 0; i < got.size(); ++i) {
        if (std::abs(got[i] - expected[i]) <= tolerance) continue;
        fail<FormatError>({"its self test fails: output ", i, " is ", got[i], ", expected ", expected[i],
                           "; the file is damaged or of another mien"});
      }
    }
#if MIEN_HAS_EXCEPTIONS
  } catch (const Error& error) {
    fail<FormatError>({what, ": ", error.what()});
  }
#endif
  return model;
}

/// Reads parameters by name from any safetensors file (PyTorch's state_dict, say) into a built network. Throws
/// FormatError that lists all missing, mis-shaped and unexpected tensors at once; the network is unchanged then.
template <class T>
MIEN_COLD void load_parameters(Sequential<T>& net, const Safetensors& file, std::string_view what = "weights") {
  using P = parameter_t<T>;
  detail::check_tensors(file, detail::names_and_shapes<P>(std::as_const(net).parameters()), what);
  for (Parameter<P>& p : net.parameters()) detail::from_file_order(*file.find(p.name), p);
}

/// A number that tells networks with other parameters apart: CRC-32C over names and values.
template <class T>
std::uint32_t fingerprint(const Sequential<T>& net) {
  std::uint32_t crc = 0;
  for (const auto& p : net.parameters()) {
    crc = crc32c(std::as_bytes(std::span(p.name)), crc);
    crc = crc32c(std::as_bytes(p.value.span()), crc);
  }
  return crc;
}

/// What has been trained on top of a base: the values of all trainable parameters (and of the statistics of layers that
/// are not frozen), to be applied to the same base again. `base` is the base's fingerprint.
template <class T>
MIEN_COLD std::vector<std::byte> delta_bytes(const Sequential<T>& net, std::uint32_t base,
                                             const SafetensorsMetadata& notes = {}) {
  using P = parameter_t<T>;
  std::vector<Tensor<P>> values;
  std::vector<SafetensorsEntry> entries;
  values.reserve(net.parameters().size());
  for (const Parameter<P>& p : net.parameters()) {
    if (p.frozen) continue;
    values.push_back(detail::to_file_order(p));
    entries.push_back(SafetensorsEntry::of(p.name, values.back()));
  }
  SafetensorsMetadata metadata = {{"mien.version", MIEN_VERSION}, {"mien.delta", std::to_string(base)}};
  for (const auto& note : notes) metadata.push_back({"note." + note.first, note.second});
  return safetensors_bytes(entries, metadata);
}

/// Applies a delta to its base. Throws FormatError if it is none, is over another base, or does not fit; the network is
/// unchanged then.
template <class T>
MIEN_COLD void apply_delta(Sequential<T>& net, std::span<const std::byte> bytes, std::string_view what = "delta") {
  using P = parameter_t<T>;
  const Safetensors file = parse_safetensors(bytes, {}, what);
  const std::string* base = file.find_metadata("mien.delta");
  if (base == nullptr) fail<FormatError>({what, ": not a delta of mien (no \"mien.delta\")"});
  if (*base != std::to_string(fingerprint(net))) {
    fail<FormatError>({what, ": a delta over another base model; give the model it was made with"});
  }
  std::vector<std::pair<std::string_view, Shape>> declared;
  for (const Parameter<P>& p : net.parameters()) {
    if (file.find(p.name)) declared.emplace_back(p.name, p.value.shape());
  }
  detail::check_tensors(file, declared, what, "");
  for (Parameter<P>& p : net.parameters()) {
    if (const SafetensorsEntry* entry = file.find(p.name)) detail::from_file_order(*entry, p);
  }
}

#if MIEN_HAS_FILES
/// Saves a network with all it takes to use it, atomically and durably: parameters under PyTorch's names, architecture,
/// preprocessing, class names, what is frozen, and one output to test it by. docs/formats.md has the form. Throws
/// FileError; NumericError if the network's output is not finite; ArgumentError for preprocessing out of its ranges.
template <class T>
MIEN_COLD void save(Sequential<T>& net, const std::string& path, const ModelInfo& info = {},
                    const SaveOptions& options = {}) {
  write_file_atomically(path, model_bytes(net, info, options));
}

/// Reads what save() wrote; see load_model(). Throws FileError or FormatError with the path. Networks that are larger
/// than the usual limits are saved all the same, and read with wider ones.
template <class T = float>
MIEN_COLD Model<T> load(const std::string& path, const ModelLimits& limits = {}) {
  return load_model<T>(read_file(path, limits.file), path, limits);
}

template <class T>
MIEN_COLD void save_delta(const Sequential<T>& net, std::uint32_t base, const std::string& path,
                          const SafetensorsMetadata& notes = {}) {
  write_file_atomically(path, delta_bytes(net, base, notes));
}

template <class T>
MIEN_COLD void load_delta(Sequential<T>& net, const std::string& path, const ModelLimits& limits = {}) {
  apply_delta(net, read_file(path, limits.file), path);
}
#endif

}  // namespace mien

#ifndef MIEN_PRECOMPILED
#include "mien/io/impl/model_file.hpp"
#endif
