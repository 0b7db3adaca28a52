// A network's architecture as JSON, both ways: what makes a model file readable without recompilation.
#pragma once

#include "mien/io/json.hpp"
#include "mien/nn/activation.hpp"
#include "mien/nn/batch_norm.hpp"
#include "mien/nn/combinators.hpp"
#include "mien/nn/conv2d.hpp"
#include "mien/nn/dense.hpp"
#include "mien/nn/dropout.hpp"
#include "mien/nn/pooling.hpp"
#include "mien/nn/sequential.hpp"
#include "mien/nn/shape_layers.hpp"

namespace mien {

namespace detail {

/// Largest hyper-parameter that a file may name: products of a few of them stay within 64 bits.
inline constexpr std::int64_t largest_setting = 1 << 20;
inline constexpr std::size_t most_layers = 10'000;

/// Throws ArgumentError for an integer that JsonReader would refuse.
class JsonDescriber : public Describer {
 public:
  void value(std::string_view name, index_t& number) override {
    if (number > largest_setting) fail<ArgumentError>({name, " is more than ", largest_setting});
    json.set(name, Json(number));
  }
  void value(std::string_view name, float& number) override { json.set(name, Json(number)); }
  void value(std::string_view name, bool& flag) override { json.set(name, Json(flag)); }
  Json json = Json::object();
};

class JsonReader : public Describer {
 public:
  explicit JsonReader(JsonView json) : json_(json) {}
  void value(std::string_view name, index_t& number) override {
    number = static_cast<index_t>(json_[name].as_integer(0, largest_setting));
    ++taken;
  }
  void value(std::string_view name, float& number) override {
    number = static_cast<float>(json_[name].as_number(-1e30, 1e30));
    ++taken;
  }
  void value(std::string_view name, bool& flag) override {
    flag = json_[name].as_bool();
    ++taken;
  }
  std::size_t taken = 0;

 private:
  JsonView json_;
};

template <class T>
MIEN_COLD Json chain_to_json(Sequential<T>& chain) {
  Json layers = Json::array();
  for (index_t i = 0; i < chain.layer_count(); ++i) {
    JsonDescriber describer;
    describer.json.set("name", chain.layer_name(i)).set("kind", chain.layer_kind(i));
    chain.layer(i).describe(describer);
    const auto branches = chain.layer(i).branches();
    if (!branches.empty()) {
      Json list = Json::array();
      for (const auto& [name, branch] : branches) {
        list.push_back(Json::object({{"name", name}, {"layers", chain_to_json(*branch)}}));
      }
      describer.json.set("branches", std::move(list));
    }
    layers.push_back(std::move(describer.json));
  }
  return layers;
}

template <class T>
MIEN_COLD Sequential<T> chain_from_json(JsonView layers);

/// A layer without branches of type L, its hyper-parameters from `json`.
template <class T, class L>
MIEN_COLD bool read_layer(JsonView json, std::string_view kind, const std::string& name, Sequential<T>& chain) {
  if (kind != L::kind) return false;
  L layer;
  JsonReader reader(json);
  layer.describe(reader);
  if (json.size() != reader.taken + 2) json.error("a " + std::string(kind) + " has no such settings");
  chain.add(name, layer);
  return true;
}

template <class T, class... Layers>
bool read_any(JsonView json, std::string_view kind, const std::string& name, Sequential<T>& chain) {
  return (read_layer<T, Layers>(json, kind, name, chain) || ...);
}

template <class T>
MIEN_COLD Sequential<T> chain_from_json(JsonView layers) {
  Sequential<T> chain;
  if (layers.size() > most_layers) layers.error("more than " + std::to_string(most_layers) + " layers");
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const JsonView json = layers[i];
    const std::string& kind = json["kind"].as_string();
    const std::string& name = json["name"].as_string();
    if (json.contains("branches")) {
      json.allow_only({"name", "kind", "branches"});
      const JsonView branches = json["branches"];
      std::vector<Sequential<T>> chains;
      for (std::size_t b = 0; b < branches.size(); ++b) {
        branches[b].allow_only({"name", "layers"});
        chains.push_back(chain_from_json<T>(branches[b]["layers"]));
      }
      if (kind == Residual<T>::kind && chains.size() == 2) {
        Residual<T> residual{std::move(chains[0]), std::move(chains[1])};
        residual.shortcut_name = branches[1]["name"].as_string();
        chain.add(name, std::move(residual));
      } else if (kind == Concat<T>::kind) {
        chain.add(name, Concat<T>(std::move(chains)));
      } else {
        json.error("a layer of kind \"" + kind + "\" cannot have these branches");
      }
    } else if (!read_any<T, Conv2d, Dense, MaxPool2d, AveragePool2d, AdaptiveAveragePool2d, GlobalAveragePool, Dropout,
                         BatchNorm2d, Relu, LeakyRelu, Sigmoid, Tanh, Softmax, Flatten>(json, kind, name, chain)) {
      json["kind"].error("unknown layer \"" + kind + "\"; a newer mien may have written this file");
    }
  }
  return chain;
}

}  // namespace detail

/// {"input": [48, 48, 1], "layers": [{"name": "0", "kind": "Conv2d", "filters": 32, ...}, ...]}. docs/formats.md has
/// the whole form.
template <class T>
MIEN_COLD Json network_to_json(Sequential<T>& net) {
  Json input = Json::array();
  for (int i = 0; i < net.input_shape().rank(); ++i) {
    index_t extent = net.input_shape()[i];
    detail::JsonDescriber().value("input", extent);
    input.push_back(extent);
  }
  return Json::object({{"input", std::move(input)}, {"layers", detail::chain_to_json(net)}});
}

/// The chain that `json` describes, not yet built, and its input shape. Throws FormatError with the place for anything
/// unknown or out of range.
template <class T>
MIEN_COLD std::pair<Sequential<T>, Shape> network_from_json(JsonView json) {
  json.allow_only({"input", "layers"});
  Shape input;
  const JsonView extents = json["input"];
  if (extents.size() < 1 || extents.size() >= Shape::max_rank) extents.error("expected 1 to 4 extents");
  for (std::size_t i = 0; i < extents.size(); ++i) {
    input.push_back(static_cast<index_t>(extents[i].as_integer(1, detail::largest_setting)));
  }
  return {detail::chain_from_json<T>(json["layers"]), input};
}

}  // namespace mien
