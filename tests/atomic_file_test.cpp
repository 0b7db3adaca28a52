// Files: read with limits, replaced atomically. What happens under failing calls and kills is in tests/fault.
#include "mien/io/atomic_file.hpp"

#include <doctest/doctest.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

using mien::FileError;

namespace {

/// A folder of its own, removed with all that is in it.
class Folder {
 public:
  Folder() {
    const char* const base = std::getenv("TMPDIR");
    std::string pattern = std::string(base != nullptr ? base : "/tmp") + "/mien_files_XXXXXX";
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~Folder() {
    for (const std::string& name : list()) ::unlink((*this / name).c_str());
    ::rmdir(path_.c_str());
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  std::vector<std::string> list() const {
    std::vector<std::string> names;
    DIR* const listing = ::opendir(path_.c_str());
    while (const dirent* const entry = ::readdir(listing)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    ::closedir(listing);
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::string path_;
};

std::string content(const std::string& path) {
  const auto bytes = mien::read_file(path, 1 << 24);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The message of the FileError that `f` throws, or "no error".
template <class F>
std::string message_of(F f) {
  try {
    f();
    return "no error";
  } catch (const FileError& error) {
    return error.what();
  }
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

unsigned mode(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777U;
}

/// Puts bytes into a file without any of the care that is tested here.
void put(const std::string& path, const std::string& text) {
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  REQUIRE(file != nullptr);
  std::fwrite(text.data(), 1, text.size(), file);
  std::fclose(file);
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += ::fcntl(fd, F_GETFD) != -1 ? 1 : 0;
  return count;
}

/// The id of a process that has ended.
pid_t dead_process() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

}  // namespace

TEST_CASE("write_file_atomically creates and replaces, and leaves nothing else") {
  const Folder folder;
  const std::string path = folder / "model";
  mien::write_file_atomically(path, "old");
  CHECK(content(path) == "old");
  mien::write_file_atomically(path, std::string(3'000'000, 'n'));
  CHECK(content(path) == std::string(3'000'000, 'n'));
  mien::write_file_atomically(path, "");
  CHECK(content(path).empty());
  const std::string parts[] = {"a", "", "bc", "def"};
  std::vector<std::span<const std::byte>> chunks;
  for (const std::string& part : parts) chunks.push_back(std::as_bytes(std::span(part)));
  mien::write_file_atomically(path, chunks);
  CHECK(content(path) == "abcdef");
  CHECK(folder.list() == std::vector<std::string>{"model"});
  const std::string longest(255, 'x');
  mien::write_file_atomically(folder / longest, "long");
  CHECK(content(folder / longest) == "long");
}

TEST_CASE("write_file_atomically writes beside a relative path") {
  const Folder folder;
  char before[4096];
  REQUIRE(::getcwd(before, sizeof before) != nullptr);
  REQUIRE(::chdir((folder / "").c_str()) == 0);
  mien::write_file_atomically("relative", "here");
  mien::write_file_atomically("./relative2", "here");
  REQUIRE(::chdir(before) == 0);
  CHECK(folder.list() == std::vector<std::string>{"relative", "relative2"});
}

TEST_CASE("write_file_atomically keeps the permissions of what it replaces, and obeys the umask for new files") {
  const Folder folder;
  const mode_t umask_before = ::umask(027);
  mien::write_file_atomically(folder / "new", "1");
  CHECK(mode(folder / "new") == 0640);
  for (const unsigned wanted : {0600U, 0664U, 0755U}) {
    REQUIRE(::chmod((folder / "new").c_str(), wanted) == 0);
    mien::write_file_atomically(folder / "new", "2");
    CHECK(mode(folder / "new") == wanted);
  }
  ::umask(umask_before);
}

TEST_CASE("write_file_atomically follows symbolic links and keeps them") {
  const Folder folder;
  const Folder elsewhere;
  mien::write_file_atomically(elsewhere / "target", "old");
  REQUIRE(::symlink((elsewhere / "target").c_str(), (folder / "absolute").c_str()) == 0);
  REQUIRE(::symlink("absolute", (folder / "chain").c_str()) == 0);
  mien::write_file_atomically(folder / "chain", "new");
  CHECK(content(elsewhere / "target") == "new");
  struct stat status {};
  REQUIRE(::lstat((folder / "chain").c_str(), &status) == 0);
  CHECK(S_ISLNK(status.st_mode));
  REQUIRE(::symlink("not_yet", (folder / "dangling").c_str()) == 0);
  mien::write_file_atomically(folder / "dangling", "made");
  CHECK(content(folder / "not_yet") == "made");
  REQUIRE(::symlink("circle", (folder / "circle").c_str()) == 0);
  CHECK(has(message_of([&] { mien::write_file_atomically(folder / "circle", "x"); }), "circle"));
  CHECK(elsewhere.list() == std::vector<std::string>{"target"});
}

TEST_CASE("write_file_atomically refuses with the path and what to do") {
  const Folder folder;
  const auto save = [](const std::string& path) { return message_of([&] { mien::write_file_atomically(path, "x"); }); };
  CHECK(has(save(folder / "no/such/file"), "create the folder first"));
  CHECK(has(save(folder / "no/such/file"), folder / "no/such/file"));
  CHECK(has(save(folder / ""), "directory"));
  CHECK(has(save(folder / "."), "directory"));
  CHECK(has(save(""), "empty"));
  CHECK(has(save(std::string("a\0b", 3)), "NUL"));
  CHECK(has(save("/dev/null"), "no regular file"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(has(save(folder / "pipe"), "no regular file"));
  CHECK(has(save(folder / std::string(300, 'x')), "choose a shorter name"));
  put(folder / "file", "x");
  CHECK(has(save(folder / "file/below"), "no folder"));
  if (::geteuid() == 0) {
    MESSAGE("write protection is not tested: root may write everything");
  } else {
    REQUIRE(::chmod((folder / "file").c_str(), 0444) == 0);
    CHECK(has(save(folder / "file"), "permissions"));
  }
}

TEST_CASE("write_file_atomically meets the file size limit without being killed") {
  const Folder folder;
  mien::write_file_atomically(folder / "f", "old");
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  rlimit small = before;
  small.rlim_cur = 1000;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string message = message_of([&] { mien::write_file_atomically(folder / "f", std::string(1001, 'n')); });
  mien::write_file_atomically(folder / "g", std::string(1000, 'n'));
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  CHECK(has(message, "ulimit -f"));
  CHECK(content(folder / "f") == "old");
  CHECK(folder.list() == std::vector<std::string>{"f", "g"});
}

TEST_CASE("write_file_atomically removes what killed processes left, and nothing else") {
  const Folder folder;
  const std::string random = "0123456789abcdef";
  const std::string dead = std::to_string(dead_process());
  const std::string alive = std::to_string(::getppid());
  const std::string own = std::to_string(::getpid());
  // Stay: a living process's, one without a process id, other targets', other forms.
  const std::vector<std::string> kept = {".model." + alive + "." + random + ".tmp",
                                         ".model." + random + ".tmp",
                                         ".model.0." + random + ".tmp",
                                         ".other." + dead + "." + random + ".tmp",
                                         ".model." + dead + ".0123.tmp",
                                         "model." + dead + "." + random + ".tmp",
                                         ".model." + dead + "." + random + ".bak",
                                         ".model.x." + dead + "." + random + ".tmp"};
  for (const std::string& name : kept) put(folder / name, "x");
  put(folder / (".model." + dead + "." + random + ".tmp"), "left behind");
  // A minute old and not locked: its process id has come again.
  const std::string reused = ".model." + own + ".1111111111111111.tmp";
  put(folder / reused, "left behind");
  const timespec long_ago[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  REQUIRE(::utimensat(AT_FDCWD, (folder / reused).c_str(), long_ago, 0) == 0);
  // As old, but its writer holds the lock.
  const std::string locked = ".model." + own + ".2222222222222222.tmp";
  put(folder / locked, "in use");
  REQUIRE(::utimensat(AT_FDCWD, (folder / locked).c_str(), long_ago, 0) == 0);
  const int writer = ::open((folder / locked).c_str(), O_RDONLY);
  REQUIRE(::flock(writer, LOCK_EX | LOCK_NB) == 0);

  mien::write_file_atomically(folder / "model", "new");
  std::vector<std::string> expected = kept;
  expected.push_back("model");
  expected.push_back(locked);
  std::sort(expected.begin(), expected.end());
  CHECK(folder.list() == expected);
  ::close(writer);
  mien::write_file_atomically(folder / "model", "newer");
  expected.erase(std::find(expected.begin(), expected.end(), locked));
  CHECK(folder.list() == expected);
}

TEST_CASE("write_file_atomically from many threads: one of the versions, whole") {
  const Folder folder;
  const std::string path = folder / "shared";
  std::vector<std::thread> threads;
  std::atomic<int> errors{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        try {
          mien::write_file_atomically(path, std::string(50'000, static_cast<char>('a' + t)));
          const std::string seen = content(path);
          if (seen.size() != 50'000 || seen.find_first_not_of(seen[0]) != std::string::npos) ++errors;
        } catch (const FileError&) {
          ++errors;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(errors == 0);
  CHECK(folder.list() == std::vector<std::string>{"shared"});
}

TEST_CASE("read_file refuses with the path and what to do, and leaks nothing") {
  const Folder folder;
  const auto read = [](const std::string& path, std::size_t most = 100) {
    return message_of([&] { mien::read_file(path, most); });
  };
  put(folder / "file", std::string(100, 'x'));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  const std::size_t open_before = open_descriptors();
  CHECK(mien::read_file(folder / "file", 100).size() == 100);
  CHECK(read(folder / "file", 99) ==
        "cannot read '" + folder / "file" + "': 100 bytes are more than the 99 allowed here");
  CHECK(has(read(folder / "missing"), "there is no such file"));
  CHECK(has(read(folder / ""), "it is a folder"));
  CHECK(has(read(folder / "pipe"), "no regular file"));
  CHECK(has(read("/dev/zero"), "no regular file"));
  CHECK(has(read(""), "no such file"));
  CHECK(has(read(folder / "file/below"), "no folder"));
  CHECK(has(read("/proc/self/status", 1 << 20), "changed while it was read"));  // is longer than its size says
  // Claims 1 TB and holds nothing: refused before memory is taken.
  put(folder / "sparse", "");
  if (::truncate((folder / "sparse").c_str(), off_t{1} << 40) == 0)
    CHECK(has(read(folder / "sparse", 1 << 30), "more than"));
  if (::geteuid() == 0) {
    MESSAGE("an unreadable file is not tested: root may read everything");
  } else {
    REQUIRE(::chmod((folder / "file").c_str(), 0) == 0);
    CHECK(has(read(folder / "file"), "check the permissions"));
  }
  mien::write_file_atomically(folder / "new", "x");
  CHECK_THROWS_AS(mien::write_file_atomically(folder / "no/new", "x"), FileError);
  CHECK(open_descriptors() == open_before);
}
