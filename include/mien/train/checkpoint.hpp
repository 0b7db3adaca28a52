// Checkpoints: all that a training run needs to go on bit-identically.
// IWYU pragma: private, include "mien/train/fit.hpp"
#pragma once

#include "mien/io/model_file.hpp"
#include "mien/optim/average.hpp"
#include "mien/optim/optimizer.hpp"
#include "mien/optim/schedule.hpp"
#include "mien/train/history.hpp"

namespace mien::detail {

/// Where a run stands. Random numbers are counter-based, so their state is `steps`; the data order is a function of
/// seed and epoch, so its state is `batch`.
struct TrainingState {
  int epoch = 0;      // complete epochs
  index_t batch = 0;  // batches done of the next one
  std::uint64_t steps = 0;
  double loss_sum = 0;  // of the batches done, weighted by their size
  index_t correct = 0, seen = 0;
  double seconds = 0;
  int bad_epochs = 0;  // without improvement, for early stopping
  History history;
};

MIEN_COLD inline Json to_json(const EpochReport& e) {
  return Json::array({e.epoch, e.train_loss, e.train_accuracy, e.validation_loss, e.validation_accuracy,
                      e.validation_macro_f1, e.learning_rate, e.seconds, e.images_per_second});
}

MIEN_COLD inline EpochReport epoch_from_json(JsonView j) {
  return {static_cast<int>(j[0].as_integer(1, 1'000'000)),
          j[1].as_number(),
          j[2].as_number(),
          j[3].as_number(),
          j[4].as_number(),
          j[5].as_number(),
          j[6].as_number(),
          j[7].as_number(),
          j[8].as_number()};
}

template <class P>
MIEN_COLD void save_checkpoint(const std::string& path, const std::string& settings, const TrainingState& state,
                               std::span<const Parameter<P>> parameters, const OptimizerState<P>& optimizer,
                               const WeightAverage<P>* average, Schedule& schedule,
                               const std::vector<Tensor<P>>& best) {
  std::vector<SafetensorsEntry> entries;
  for (const Parameter<P>& p : parameters) {
    for (const P& value : p.value) {
      if (!std::isfinite(value))
        fail<NumericError>({"parameter ", p.name, " is not finite; the last checkpoint is kept"});
    }
    entries.push_back(SafetensorsEntry::of("network." + p.name, p.value));
  }
  optimizer.for_each_tensor([&](const std::string& name, TensorView<const P> tensor) {
    entries.push_back(SafetensorsEntry::of("optimizer." + name, tensor));
  });
  if (average) {
    average->for_each_tensor([&](const std::string& name, TensorView<const P> tensor) {
      entries.push_back(SafetensorsEntry::of(name, tensor));
    });
  }
  for (std::size_t i = 0; i < best.size(); ++i) {
    entries.push_back(SafetensorsEntry::of("best." + parameters[i].name, best[i]));
  }
  Json epochs = Json::array();
  for (const EpochReport& e : state.history.epochs) epochs.push_back(to_json(e));
  Json json = Json::object({{"settings", settings},
                            {"epoch", state.epoch},
                            {"batch", state.batch},
                            {"steps", state.steps},
                            {"loss_sum", state.loss_sum},
                            {"correct", state.correct},
                            {"seen", state.seen},
                            {"seconds", state.seconds},
                            {"bad_epochs", state.bad_epochs},
                            {"optimizer_steps", optimizer.steps()},
                            {"average_updates", average ? average->updates() : 0},
                            {"best_epoch", state.history.best_epoch},
                            {"best_accuracy", state.history.best_accuracy},
                            {"epochs", std::move(epochs)}});
  schedule.for_each_state([&](const char* name, double& value) { json.set(std::string("schedule_") + name, value); });
  const SafetensorsMetadata metadata = {{"mien.version", MIEN_VERSION}, {"mien.checkpoint", json.write()}};
  write_safetensors(path, entries, metadata);
}

/// Throws FormatError if the file is damaged or no checkpoint, ArgumentError if it belongs to another run.
template <class P>
MIEN_COLD TrainingState load_checkpoint(const std::string& path, const std::string& settings,
                                        std::span<Parameter<P>> parameters, OptimizerState<P>& optimizer,
                                        WeightAverage<P>* average, Schedule& schedule, std::vector<Tensor<P>>& best) {
  // What save_checkpoint writes for these parameters has five tensors for each of theirs at most, and a header.
  std::size_t bytes = std::size_t{64} << 20;
  for (const Parameter<P>& p : parameters) bytes += 8 * sizeof(P) * static_cast<std::size_t>(p.value.size());
  const SafetensorsFile file(path, {}, bytes);
  const std::string* text = file.content().find_metadata("mien.checkpoint");
  if (text == nullptr) fail<FormatError>({path, ": not a checkpoint of mien"});
  const Json json = Json::parse(*text, {.bytes = std::size_t{16} << 20, .nodes = 10'000'000});
  const std::string& saved = JsonView(json)["settings"].as_string();
  const Json written = Json::parse(Json(settings).write());  // as UTF-8, whatever it was
  if (saved != JsonView(written).as_string()) {
    fail<ArgumentError>({path,
                         ": the checkpoint of a run with other settings; go on with the same ones, or start anew ",
                         "in another folder\n  there: ", saved, "\n  here:  ", settings});
  }
  const auto find = [&](const std::string& name) -> const SafetensorsEntry& {
    const SafetensorsEntry* entry = file.content().find(name);
    if (entry == nullptr) fail<FormatError>({path, ": no tensor \"", name, "\""});
    return *entry;
  };
  std::vector<Tensor<P>> values, best_values;
  const bool has_best = !parameters.empty() && file.content().find("best." + parameters[0].name) != nullptr;
  for (const Parameter<P>& p : parameters) {
    values.push_back(read_tensor<P>(find("network." + p.name)));
    if (has_best) best_values.push_back(read_tensor<P>(find("best." + p.name)));
    if (values.back().shape() != p.value.shape() || (has_best && best_values.back().shape() != p.value.shape())) {
      fail<FormatError>({path, ": tensor \"", p.name, "\" has another shape"});
    }
  }
  std::vector<Tensor<P>> held;  // keeps what `find_state` returned alive
  held.reserve(3 * parameters.size() + 8);
  const auto find_state = [&](const std::string& prefix) {
    return [&, prefix](const std::string& name) -> TensorView<const P> {
      const SafetensorsEntry* entry = file.content().find(prefix + name);
      if (entry == nullptr) return {};
      held.push_back(read_tensor<P>(*entry));
      return held.back().view();
    };
  };
  const JsonView j(json);
  TrainingState state;
  state.epoch = static_cast<int>(j["epoch"].as_integer(0, 1'000'000));
  state.batch = static_cast<index_t>(j["batch"].as_integer(0));
  state.steps = static_cast<std::uint64_t>(j["steps"].as_integer(0));
  state.loss_sum = j["loss_sum"].as_number();
  state.correct = static_cast<index_t>(j["correct"].as_integer(0));
  state.seen = static_cast<index_t>(j["seen"].as_integer(0));
  state.seconds = j["seconds"].as_number();
  state.bad_epochs = static_cast<int>(j["bad_epochs"].as_integer(0, 1'000'000));
  state.history.best_epoch = static_cast<int>(j["best_epoch"].as_integer(0, 1'000'000));
  state.history.best_accuracy = j["best_accuracy"].as_number();
  for (std::size_t i = 0; i < j["epochs"].size(); ++i) state.history.epochs.push_back(epoch_from_json(j["epochs"][i]));
  optimizer.restore(j["optimizer_steps"].as_integer(0), find_state("optimizer."));
  if (average) average->restore(j["average_updates"].as_integer(0), find_state(""));
  schedule.for_each_state(
      [&](const char* name, double& value) { value = j[std::string("schedule_") + name].as_number(); });
  for (std::size_t i = 0; i < values.size(); ++i) parameters[i].value = std::move(values[i]);
  best = std::move(best_values);
  return state;
}

}  // namespace mien::detail
