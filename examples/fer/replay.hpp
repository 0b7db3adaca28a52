// The replay bank: features of general faces, kept with a model so that a personal head can be held to the general one.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>

#include "fer/features.hpp"

namespace mien::fer {

/// Faces in a bank, drawn as they come: a class-balanced bank shifts the prior (docs/personalization.md).
inline constexpr index_t replay_faces = 2000;
/// Networks whose last layer reads more than this carry no bank: it would outweigh the model.
inline constexpr index_t replay_width = 512;

/// Features (m, d) of `count` faces of `dataset`, drawn at random by `seed`.
inline Tensor<float> replay_bank(const Sequential<float>& net, const Dataset& dataset, index_t crop, index_t count,
                                 std::uint64_t seed, Workspace& workspace) {
  std::vector<index_t> order(static_cast<std::size_t>(dataset.size()));
  Random(seed, Stream::user).permutation(std::span(order));
  order.resize(static_cast<std::size_t>(std::min(count, dataset.size())));
  const Subset chosen(dataset, order);
  return mirrored_features(net, head_layer(net), chosen, crop, workspace);
}

/// Saves a model with its bank, where its last layer is narrow enough.
inline void save_with_replay(Model<float>& model, const std::string& path, const Dataset& training, std::uint64_t seed,
                             Workspace& workspace, bool bfloat16_storage = false) {
  SaveOptions options{.bfloat16_storage = bfloat16_storage};
  Tensor<float> bank;
  if (model.network.shape_after(head_layer(model.network)).size() <= replay_width) {
    bank = replay_bank(model.network, training, model.info.preprocessing.crop, replay_faces, seed, workspace);
    options.extra.emplace_back("replay.features", bank.view());
  }
  save(model.network, path, model.info, options);
}

}  // namespace mien::fer
