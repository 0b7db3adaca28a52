// train_fer: trains a facial expression network on FER2013, or on drawn faces where no data is given.
#include <filesystem>

#include "fer/networks.hpp"
#include "fer/program.hpp"
#include "fer/replay.hpp"
#include "fer/report.hpp"
#include "fer/synthetic_export.hpp"
#include "mien/train/distillation.hpp"
#include "mien/train/fit.hpp"
#include "mien/train/progress.hpp"

using namespace mien;

namespace {

struct Settings {
  fer::CommonOptions common;
  std::string data, model, optimizer, schedule, precision, storage, augment, out = "out", export_synthetic;
  int epochs = 0, persons = 600;
  index_t batch = 0, max_bad = 0, checkpoint_batches = 0;
  double learning_rate = 0, mixup = 0, teacher_weight = 0.8;
  std::vector<std::string> teachers;
  bool resume = false, ten_crop = false;
  bool epochs_given = false, batch_given = false, rate_given = false;
};

/// Training faces and those to choose by.
struct Data {
  fer::FaceImages train, validation;
  std::vector<std::string> warnings;
  std::string validation_name;
};

Data load_data(const Settings& s, const Threads& threads) {
  Data d;
  if (s.data.empty()) {
    std::fprintf(stderr, "No --data: training on drawn (synthetic) faces, not photographs.\n");
    d.train = fer::synthetic_faces({.seed = s.common.seed, .persons = s.persons}, threads);
    d.validation = fer::synthetic_faces(
        {.seed = s.common.seed, .first_person = 500'000, .persons = std::max(40, s.persons / 6)}, threads);
    d.validation_name = "held-out synthetic persons";
    return d;
  }
  // PrivateTest is not even opened: it is for a final figure.
  fer::Fer2013 loaded = fer::load_fer2013(s.data, {.max_bad = s.max_bad}, threads);
  fer::print_warnings(loaded);
  d.train = std::move(loaded[fer::Split::training]);
  d.validation = std::move(loaded[fer::Split::public_test]);
  d.warnings = std::move(loaded.warnings);
  d.validation_name = "PublicTest";
  return d;
}

/// The network's recipe with what the command line changes.
fer::Recipe recipe_for(const Settings& s) {
  fer::Recipe r = fer::recipe_of(s.model);
  if (!s.precision.empty()) r.bfloat16_activations = s.precision == "bf16";
  if (!s.storage.empty()) r.bfloat16_storage = s.storage == "bf16";
  if (s.epochs_given) r.epochs = s.epochs;
  if (s.batch_given) r.batch = s.batch;
  if (!s.schedule.empty()) r.schedule = Schedule::parse(s.schedule);
  if (!s.augment.empty()) r.augmentation = fer::augmentation_of(s.augment, r.input);
  r.augmentation.crop = r.input;
  if (!s.teachers.empty()) r.label_smoothing = 0;  // their answers are soft as they are
  if (!s.optimizer.empty() || s.rate_given) {
    const std::string name = s.optimizer.empty() ? r.optimizer.name() : s.optimizer;
    const bool same = name == r.optimizer.name();
    const Optimizer before = r.optimizer;
    Optimizer changed = before;
    if (name == "sgd") {
      Sgd::Options o = same ? before.sgd() : Sgd::Options{.learning_rate = 0.01f, .momentum = 0.9f, .nesterov = true};
      if (s.rate_given) o.learning_rate = static_cast<float>(s.learning_rate);
      changed = Sgd{o};
    } else if (name == "adam") {
      Adam::Options o = same ? before.adam() : Adam::Options{};
      if (s.rate_given) o.learning_rate = static_cast<float>(s.learning_rate);
      changed = Adam{o};
    } else {
      AdamW::Options o;
      if (s.rate_given) o.learning_rate = static_cast<float>(s.learning_rate);
      changed = AdamW{o};
    }
    changed.decay_only_weights = before.decay_only_weights;
    r.optimizer = changed;
  }
  return r;
}

/// The networks to learn from, if there are any; `settings` gets what tells them from others.
template <class T>
std::unique_ptr<Distillation<T>> load_teachers(const Settings& s, const fer::Recipe& recipe, const Preprocessing& p,
                                               const Threads& threads, std::string& settings) {
  if (s.teachers.empty()) return nullptr;
  std::vector<Sequential<T>> networks;
  for (const std::string& path : s.teachers) {
    Model<T> model = fer::load_expression_model<T>(path);
    const Preprocessing& q = model.info.preprocessing;
    if (q.crop != p.crop || q.mean != p.mean || q.deviation != p.deviation) {
      const auto text = [](const Preprocessing& r) {
        return std::to_string(r.crop) + " pixels a side, mean " + Json(r.mean).write() + ", deviation " +
               Json(r.deviation).write();
      };
      fail<ArgumentError>(path + " cannot be a teacher: it reads " + text(q) + ", the student " + text(p) +
                          "; train the teacher on the same data");
    }
    settings += ", teacher " + std::to_string(fingerprint(model.network));
    networks.push_back(std::move(model.network));
  }
  settings += ", weight " + Json(s.teacher_weight).write();
  return std::make_unique<Distillation<T>>(std::move(networks), static_cast<float>(s.teacher_weight), recipe.batch,
                                           threads);
}

/// Writes history.csv after every epoch, and shows progress.
class Recorder : public Progress {
 public:
  explicit Recorder(std::string path) : path_(std::move(path)) {}
  bool epoch(const EpochReport& e, const History& h) override {
    fer::write_history(path_, h.epochs);
    return Progress::epoch(e, h);
  }

 private:
  std::string path_;
};

template <class T>
int train(const Settings& s) {
  const Threads threads(s.common.threads);
  const fer::Recipe recipe = recipe_for(s);
  Sequential<T> net = fer::make_network<T>(s.model);
  net.build({recipe.input, recipe.input, 1}, s.common.seed);
  std::error_code error;
  std::filesystem::create_directories(s.out, error);
  if (error) fail<FileError>("cannot make the folder '" + s.out + "': " + error.message());
  // model.safetensors is made of what was trained, and may be rounded; made again after a run that was stopped late, it
  // must not be rounded twice.
  const std::string model_path = s.out + "/model.safetensors", trained = s.out + "/trained.safetensors",
                    checkpoint = s.out + "/checkpoint.safetensors";
  const bool has_checkpoint = std::filesystem::exists(checkpoint);
  if (!s.resume && has_checkpoint) {
    fail<ArgumentError>("'" + checkpoint +
                        "' is already there: add --resume to go on with it, or choose another --out");
  }
  // A run that is over, whose checkpoint was taken away; one that was stopped in its first epoch may have the second.
  for (const std::string* old : {&model_path, &trained}) {
    if (has_checkpoint || (s.resume && old == &trained) || !std::filesystem::exists(*old)) continue;
    fail<ArgumentError>("'" + *old + "' is already there, and no checkpoint to go on with: choose another --out");
  }

  Data data = load_data(s, threads);
  ModelInfo info{.name = s.model, .classes = {fer::class_names.begin(), fer::class_names.end()}, .preprocessing = {}};
  info.preprocessing.crop = recipe.input;
  info.preprocessing.mean = recipe.mean;
  info.preprocessing.deviation = recipe.deviation;
  if (recipe.deviation == 0) {
    const PixelStatistics statistics = pixel_statistics(data.train.pixels);
    info.preprocessing.mean = statistics.mean;
    info.preprocessing.deviation = statistics.deviation;
  }
  info.notes = {{"data", data.train.synthetic ? "synthetic faces drawn by mien" : "FER2013, Training"},
                {"selected by", recipe.keep_last ? "nothing: the last epoch" : data.validation_name}};
  const ByteDataset train_faces = fer::to_dataset(data.train, info.preprocessing);
  const ByteDataset validation_faces = fer::to_dataset(data.validation, info.preprocessing);
  const Augmented augmented(train_faces, recipe.augmentation);
  const Cropped validation(validation_faces, recipe.input);

  std::fprintf(stderr, "%s: %td parameters, %td training and %td validation faces, %d threads, %s\n", s.model.c_str(),
               net.parameter_count(), data.train.size(), data.validation.size(), threads.count(),
               std::string(to_string(cpu_isa())).c_str());
  Recorder recorder(s.out + "/history.csv");
  std::uint32_t crc = 0;
  for (const fer::FaceImages* faces : {&data.train, &data.validation}) {
    crc = crc32c(std::as_bytes(std::span(faces->pixels)), crc);
    crc = crc32c(std::as_bytes(std::span(faces->labels)), crc);
  }
  std::string settings = s.model + ", " + s.precision + ", augment " + (s.augment.empty() ? "recipe" : s.augment) +
                         ", data " + std::to_string(crc);
  const auto teachers = load_teachers<T>(s, recipe, info.preprocessing, threads, settings);
  const FitOptions options{.epochs = recipe.epochs,
                           .batch = recipe.batch,
                           .validation = &validation,
                           .seed = s.common.seed,
                           .threads = &threads,
                           .schedule = recipe.schedule,
                           .loss = {.label_smoothing = recipe.label_smoothing},
                           .average_decay = recipe.average_decay,
                           .mixup_alpha = static_cast<float>(s.mixup),
                           .drop_last = recipe.drop_last,
                           .checkpoint = checkpoint,
                           .checkpoint_batches = s.checkpoint_batches,
                           .resume = s.resume,
                           .model = trained,
                           .keep_last = recipe.keep_last,
                           .info = info,
                           .observer = &recorder,
                           .targets = teachers.get(),
                           .settings = settings};
  const History history = fit(net, recipe.optimizer, augmented, options);
  fer::write_history(s.out + "/history.csv", history.epochs);

  const int epoch = recipe.keep_last ? static_cast<int>(history.epochs.size()) : history.best_epoch;
  Workspace workspace(threads);
  Model<float> saved = fer::load_expression_model(trained);
  saved.info.notes = info.notes;
  saved.info.notes.emplace_back("epochs", std::to_string(epoch) + " of " + std::to_string(recipe.epochs));
  fer::save_with_replay(saved, model_path, train_faces, s.common.seed, workspace, recipe.bfloat16_storage);
  saved = fer::load_expression_model(model_path);  // as it was rounded
  const auto probabilities = fer::predict(saved.network, data.validation, saved.info.preprocessing, false, workspace);
  const Evaluation all = fer::score(probabilities, data.validation.labels);
  const std::vector<index_t> copies = fer::copies_in(data.validation, data.train);
  const Evaluation clean = fer::score(probabilities, data.validation.labels, copies);
  fer::Report report;
  report.title = s.model + " on " + (data.train.synthetic ? "synthetic faces" : "FER2013");
  report.subtitle = "Figures on " + data.validation_name + ", epoch " + std::to_string(epoch) + " of " +
                    std::to_string(recipe.epochs) + (recipe.keep_last ? "" : " chosen by it");
  report.synthetic = data.train.synthetic;
  report.warnings = data.warnings;
  report.history = history.epochs;
  report.evaluations.push_back({data.validation_name, all});
  if (!copies.empty()) report.evaluations.push_back({data.validation_name + " without training copies", clean});
  Json json = Json::object({{"model", model_path},
                            {"report", s.out + "/report.html"},
                            {"synthetic", data.train.synthetic},
                            {"epochs", static_cast<int>(history.epochs.size())},
                            {"epoch", epoch},
                            {"best_epoch", history.best_epoch},
                            {"accuracy", all.accuracy()},
                            {"macro_f1", all.macro_f1()},
                            {"count", all.count()},
                            {"clean_accuracy", clean.accuracy()},
                            {"clean_count", clean.count()},
                            {"ece", all.calibration_error()}});
  if (s.ten_crop) {
    const Evaluation ten =
        fer::score(fer::predict(saved.network, data.validation, saved.info.preprocessing, true, workspace),
                   data.validation.labels);
    report.evaluations.push_back({data.validation_name + ", ten crops", ten});
    json.set("ten_crop_accuracy", ten.accuracy());
  }
  report.faces = fer::choose_faces(data.validation, probabilities);
  report.settings = {{"Network", s.model + ", " + std::to_string(saved.network.parameter_count()) + " parameters"},
                     {"Epochs", std::to_string(recipe.epochs)},
                     {"Batch", std::to_string(recipe.batch)},
                     {"Optimizer", recipe.optimizer.name()},
                     {"Learning rate", Json(recipe.optimizer.learning_rate()).write()},
                     {"Schedule", recipe.schedule.to_string()},
                     {"Weight decay", Json(recipe.optimizer.weight_decay()).write()},
                     {"Label smoothing", Json(recipe.label_smoothing).write()},
                     {"Mixup", Json(s.mixup).write()},
                     {"Teachers", std::to_string(s.teachers.size())},
                     {"Averaging", Json(recipe.average_decay).write()},
                     {"Augmentation", s.augment.empty() ? "of the recipe" : s.augment},
                     {"Precision", s.precision},
                     {"Threads", std::to_string(threads.count())},
                     {"Seed", std::to_string(s.common.seed)}};
  fer::write_report(s.out + "/report.html", report);
  fer::print_evaluation(data.validation_name.c_str(), all);
  std::fprintf(stderr, "\nModel  %s\nReport %s/report.html\n", model_path.c_str(), s.out.c_str());
  if (s.common.json) fer::print_json(json);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Trains a facial expression network on FER2013 (or, without --data, on drawn faces).", "train_fer");
  Settings s;
  s.common.add_to(app);
  const std::vector<std::string> names(fer::network_names.begin(), fer::network_names.end());
  auto* data = app.add_option("--data", s.data, "Folder of class folders, fer2013.csv or icml_face_data.csv")
                   ->check(fer::not_empty());
  app.add_option("--model", s.model,
                 "Network; unless told otherwise it is trained as published (default: mien-s, or "
                 "tiny without --data)")
      ->check(CLI::IsMember(names));
  auto* epochs = app.add_option("--epochs", s.epochs, "Passes over the training set")->check(CLI::Range(1, 10000));
  auto* batch = app.add_option("--batch", s.batch, "Faces per step")->check(CLI::Range(1, 65536));
  app.add_option("--optimizer", s.optimizer, "sgd, adam or adamw")->check(CLI::IsMember({"sgd", "adam", "adamw"}));
  auto* rate = app.add_option("--learning-rate", s.learning_rate, "Highest learning rate")
                   ->check(fer::number_in(1e-30, 1e30, "from 1e-30 to 1e30"));
  app.add_option("--schedule", s.schedule,
                 "constant, step:EVERY,FACTOR, cosine:warmup=N, one_cycle or plateau; lengths in epochs")
      ->check(fer::not_empty());
  app.add_option("--precision", s.precision,
                 "fp32, or bf16: bfloat16 activations, float parameters (default: the recipe's)")
      ->check(CLI::IsMember({"fp32", "bf16"}));
  app.add_option("--storage", s.storage, "Parameters in the model file: fp32 or bf16 (default: the recipe's)")
      ->check(CLI::IsMember({"fp32", "bf16"}));
  app.add_option("--augment", s.augment, "none, light or strong (default: the recipe's)")
      ->check(CLI::IsMember({"none", "light", "strong"}));
  app.add_option("--mixup", s.mixup, "Mix faces and labels in pairs, in shares from Beta(A, A); 0: not (default)")
      ->check(fer::number_in(0, 1000, "from 0 to 1000"));
  auto* teacher =
      app.add_option("--teacher", s.teachers,
                     "Model file to learn from beside the labels; of several, from the mean of their answers")
          ->check(fer::not_empty());
  app.add_option("--teacher-weight", s.teacher_weight, "Share of the teachers' answers in what is learnt")
      ->check(fer::number_in(0, 1, "from 0 to 1"))
      ->needs(teacher)
      ->capture_default_str();
  app.add_option(
         "--out", s.out,
         "Folder for model.safetensors and report.html, and while it trains trained.safetensors (the model so far, in "
         "float), checkpoint.safetensors and history.csv")
      ->check(fer::not_empty())
      ->capture_default_str();
  app.add_flag("--resume", s.resume, "Go on from the checkpoint in --out, if there is one");
  app.add_option("--checkpoint-every", s.checkpoint_batches, "Also save a checkpoint after every so many batches")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("--ten-crop", s.ten_crop, "Also report the accuracy averaged over ten crops");
  app.add_option("--max-bad", s.max_bad,
                 "Leave out up to this many damaged pictures or rows (of a CSV file also those of PrivateTest)")
      ->check(CLI::NonNegativeNumber)
      ->needs(data);
  app.add_option("--persons", s.persons, "Number of synthetic persons to train on, without --data")
      ->check(CLI::Range(1, 100000))
      ->excludes(data)
      ->capture_default_str();
  app.add_option("--export-synthetic", s.export_synthetic,
                 "Write drawn faces to this folder instead of training: fer/ like FER2013, persons/ for personalize")
      ->check(fer::not_empty());

  return fer::run_program(app, argc, argv, [&] {
    s.epochs_given = epochs->count() > 0;
    s.batch_given = batch->count() > 0;
    s.rate_given = rate->count() > 0;
    if (s.model.empty()) s.model = s.data.empty() ? "tiny" : "mien-s";
    if (!s.export_synthetic.empty()) {
      const Threads threads(s.common.threads);
      fer::export_all(s.export_synthetic, s.common.seed, s.persons, threads);
      std::fprintf(stderr, "Drawn (synthetic) faces written to %s\n", s.export_synthetic.c_str());
      return 0;
    }
    s.precision = recipe_for(s).bfloat16_activations ? "bf16" : "fp32";
    return s.precision == "bf16" ? train<bfloat16>(s) : train<float>(s);
  });
}
