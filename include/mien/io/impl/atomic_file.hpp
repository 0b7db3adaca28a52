// Files: definitions for mien/io/atomic_file.hpp. Private.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_FILES

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mien/io/atomic_file.hpp"
#include "mien/io/support.hpp"

namespace mien {

namespace detail {

/// What can be done about an errno; empty where nothing better than its text is known.
MIEN_COLD MIEN_BODY const char* file_advice(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "; free some space or choose another folder";
    case EACCES:
    case EPERM:
      return "; check the permissions of the file and its folder";
    case EROFS:
      return "; choose a folder that can be written to";
    case ENOENT:
      return "; check the path, and create the folder first";
    case ENOTDIR:
      return "; a part of the path is no folder";
    case ENAMETOOLONG:
      return "; choose a shorter name";
    case EFBIG:
      return "; raise the file size limit (ulimit -f) or choose another file system";
    case EMFILE:
    case ENFILE:
      return "; too many files are open";
    case EIO:
      return "; the disk or its connection may be failing";
    case ELOOP:
      return "; its symbolic links lead in a circle";
    default:
      return "";
  }
}

MIEN_COLD [[noreturn]] MIEN_BODY void fail_file(const char* what, const std::string& path, int error) {
  fail<FileError>({"cannot ", what, " '", path, "': ", std::strerror(error), file_advice(error)});
}

/// Calls `f` again while it is interrupted by a signal. The limit only guards against a system that never stops.
template <class F>
auto retry_interrupted(F f) {
  auto result = f();
  for (int tries = 0; result < 0 && errno == EINTR && tries < 1000; ++tries) result = f();
  return result;
}

/// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[gnu::noinline]] ~Descriptor() { close(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  /// False, with errno, if closing reports an error. The descriptor is gone either way.
  bool close() {
    const int fd = std::exchange(fd_, -1);
    // Linux has let go of the descriptor when close is interrupted: calling again could close somebody else's.
    return fd < 0 || ::close(fd) == 0 || errno == EINTR;
  }

 private:
  int fd_;
};

MIEN_COLD MIEN_BODY Descriptor open_file(const std::string& path, int flags, unsigned mode = 0) {
  return Descriptor(retry_interrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); }));
}

/// Where a path with symbolic links leads to: renaming onto a link would replace the link, not its target.
MIEN_COLD MIEN_BODY std::string resolve_links(std::string path) {
  for (int links = 0; links < 40; ++links) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0 || !S_ISLNK(status.st_mode)) return path;
    std::string target(4096, '\0');
    const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
    if (length <= 0 || static_cast<std::size_t>(length) >= target.size()) fail_file("follow the link", path, errno);
    target.resize(static_cast<std::size_t>(length));
    const std::size_t slash = path.rfind('/');
    const bool within = target[0] != '/' && slash != std::string::npos;
    path = join({std::string_view(path).substr(0, within ? slash + 1 : 0), target});
  }
  fail_file("save", path, ELOOP);
}

/// Name of the temporary file for `name`: ".NAME.PID.RANDOM.tmp", cut so that file systems accept it.
MIEN_COLD MIEN_BODY std::string temporary_prefix(std::string_view name) {
  return join({".", name.substr(0, 200), "."});
}

MIEN_COLD MIEN_BODY std::string temporary_name(const std::string& name) {
  static std::atomic<std::uint64_t> counter{0};
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  std::uint64_t random = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
                         static_cast<std::uint64_t>(now.tv_nsec) + (counter.fetch_add(1) << 48);
  random *= 0x9e3779b97f4a7c15U;  // spreads the low bits; O_EXCL does the rest
  std::string hex;
  append_hex(hex, random, 16);
  return join({temporary_prefix(name), ::getpid(), ".", hex, ".tmp"});
}

/// The process id in a temporary name of the target `name`, or 0 if `candidate` is none.
MIEN_COLD MIEN_BODY long temporary_owner(std::string_view candidate, const std::string& name) {
  const std::string prefix = temporary_prefix(name);
  constexpr std::size_t tail = 1 + 16 + 4;  // ".RANDOM.tmp"
  if (candidate.size() <= prefix.size() + tail || candidate.substr(0, prefix.size()) != prefix) return 0;
  const std::string_view end = candidate.substr(candidate.size() - tail);
  const std::string_view pid = candidate.substr(prefix.size(), candidate.size() - tail - prefix.size());
  if (end.front() != '.' || end.substr(17) != ".tmp") return 0;
  if (end.substr(1, 16).find_first_not_of("0123456789abcdef") != std::string_view::npos) return 0;
  long value = 0;
  for (const char digit : pid) {
    if (digit < '0' || digit > '9' || value > 1'000'000'000) return 0;
    value = value * 10 + (digit - '0');
  }
  return value;
}

/// Removes temporary files of this target whose writers were killed. A writer holds a lock on its file while it
/// lives; as there is a moment between creating and locking, its process must be gone too, or the file a minute old
/// (process ids come again, above all in containers). Best effort: what cannot be judged stays.
MIEN_COLD MIEN_BODY void remove_stale_temporaries(const std::string& folder, const std::string& name) {
  DIR* const listing = ::opendir(folder.c_str());
  if (listing == nullptr) return;
  while (const dirent* const entry = ::readdir(listing)) {
    const long owner = temporary_owner(entry->d_name, name);
    if (owner == 0) continue;
    const std::string path = join({folder, "/", entry->d_name});
    const Descriptor file = open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    const bool gone = ::kill(static_cast<pid_t>(owner), 0) != 0 && errno == ESRCH;
    const bool old = std::time(nullptr) - status.st_mtime > 60;
    if ((gone || old) && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0) ::unlink(path.c_str());
  }
  ::closedir(listing);
}

/// Writes all bytes; false, with errno, if the system refuses.
MIEN_COLD MIEN_BODY bool write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t step = std::min(bytes.size(), std::size_t{1} << 30);
    const ssize_t written = retry_interrupted([&] { return ::write(fd, bytes.data(), step); });
    if (written < 0) return false;
    if (written == 0) {
      errno = EIO;
      return false;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

/// Reserves the space, so that a full disk shows before anything is written. True where the system has no such call.
MIEN_COLD MIEN_BODY bool reserve_space([[maybe_unused]] int fd, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
  if (bytes == 0) return true;
  // Not posix_fallocate, which writes to every block where the file system cannot reserve.
  const int result = retry_interrupted([&] { return ::fallocate(fd, 0, 0, static_cast<off_t>(bytes)); });
  return result == 0 || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL;
#else
  return true;
#endif
}

/// The part between creating the temporary file and renaming it; returns what failed, with errno, or null.
MIEN_COLD MIEN_BODY const char* fill_temporary(Descriptor& file, std::span<const std::span<const std::byte>> chunks,
                                               std::size_t total, const struct stat* old) {
  ::flock(file.get(), LOCK_EX | LOCK_NB);  // tells others that its writer lives; not all file systems can
  if (!reserve_space(file.get(), total)) return "reserve space for";
  for (const auto& chunk : chunks)
    if (!write_all(file.get(), chunk)) return "write";
  if (old != nullptr) {
    // Root saving into a user's folder leaves the file to the user. Others may not give files away: no matter.
    if (::fchown(file.get(), old->st_uid, old->st_gid) != 0) errno = 0;
    if (::fchmod(file.get(), old->st_mode & 0777U) != 0) return "set the permissions of";
  }
  // After a failed fsync the kernel counts the pages as written: another fsync would succeed and lie. So the file is
  // thrown away then. An interrupted one has not failed yet.
  if (retry_interrupted([&] { return ::fsync(file.get()); }) != 0) return "flush";
  return file.close() ? nullptr : "close";
}

}  // namespace detail

MIEN_COLD MIEN_BODY void write_file_atomically(const std::string& path,
                                               std::span<const std::span<const std::byte>> chunks) {
  using detail::fail_file;
  if (path.empty() || path.find('\0') != std::string::npos) {
    fail<FileError>("cannot save: the path is empty or holds a NUL character");
  }
  const std::string target = detail::resolve_links(path);
  const std::size_t slash = target.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : target.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? target : target.substr(slash + 1);
  if (name.empty() || name == "." || name == "..") fail_file("save", path, EISDIR);

  struct stat old {};
  const bool replaces = ::stat(target.c_str(), &old) == 0;
  if (!replaces && errno != ENOENT) fail_file("save", path, errno);
  if (replaces && S_ISDIR(old.st_mode)) fail_file("save", path, EISDIR);
  if (replaces && !S_ISREG(old.st_mode)) fail<FileError>({"cannot save '", path, "': it is no regular file"});
  if (replaces && ::access(target.c_str(), W_OK) != 0) fail_file("replace", path, errno);

  std::size_t total = 0;
  for (const auto& chunk : chunks) total += chunk.size();
  // Found out beforehand, as writing beyond the limit kills a process that does not ignore SIGXFSZ.
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && total > limit.rlim_cur) {
    fail_file("save", path, EFBIG);
  }

  // Opened first: if this fails nothing has happened yet. A folder may be writable but not readable; then the rename
  // cannot be flushed, which is no reason to refuse.
  const detail::Descriptor directory = detail::open_file(folder, O_RDONLY | O_DIRECTORY);
  if (!directory && errno != EACCES) fail_file("open the folder of", path, errno);
  detail::remove_stale_temporaries(folder, name);

  const std::string temporary =
      detail::join({slash == std::string::npos ? std::string_view() : folder, detail::temporary_name(name)});
  // What replaces a private file is private from its first moment.
  detail::Descriptor file =
      detail::open_file(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, replaces ? 0600 : 0666);
  if (!file) fail_file("create a file beside", path, errno);
  const char* failed = detail::fill_temporary(file, chunks, total, replaces ? &old : nullptr);
  if (failed == nullptr && ::rename(temporary.c_str(), target.c_str()) != 0) failed = "rename";
  if (failed != nullptr) {
    const int error = errno;
    file.close();
    ::unlink(temporary.c_str());
    fail<FileError>({"cannot save '", path, "' (", failed, " '", temporary, "'): ", std::strerror(error),
                     detail::file_advice(error), "; what was there before is untouched"});
  }
  if (directory && detail::retry_interrupted([&] { return ::fsync(directory.get()); }) != 0 && errno != EINVAL &&
      errno != EBADF && errno != ENOTSUP) {
    fail<FileError>({"saved '", path, "', but its folder cannot be flushed: ", std::strerror(errno),
                     "; after a loss of power the old file may be back"});
  }
}

MIEN_COLD MIEN_BODY void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  const std::span<const std::byte> chunks[] = {bytes};
  write_file_atomically(path, chunks);
}

MIEN_COLD MIEN_BODY void write_file_atomically(const std::string& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span<const char>(text.data(), text.size())));
}

MIEN_COLD MIEN_BODY std::vector<std::byte> read_file(const std::string& path, std::size_t max_bytes) {
  using detail::fail_file;
  // Not blocking, or a pipe by this name would wait for a writer for ever.
  const detail::Descriptor file = detail::open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!file) {
    if (errno == ENOENT) {
      fail<FileError>({"cannot read '", path, "': there is no such file; check the path"});
    }
    fail_file("read", path, errno);
  }
  struct stat before {};
  if (::fstat(file.get(), &before) != 0) fail_file("read", path, errno);
  if (!S_ISREG(before.st_mode)) {
    fail<FileError>({"cannot read '", path, "': it is ",
                     S_ISDIR(before.st_mode) ? "a folder; name a file in it" : "no regular file"});
  }
  const auto size = static_cast<std::uint64_t>(before.st_size);
  if (size > max_bytes) {
    fail<FileError>({"cannot read '", path, "': ", size, " bytes are more than the ", max_bytes, " allowed here"});
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  std::size_t filled = 0;
  const auto read_some = [&](std::byte* to, std::size_t count) {
    const ssize_t got = detail::retry_interrupted([&] { return ::read(file.get(), to, count); });
    if (got < 0) fail_file("read", path, errno);
    return static_cast<std::size_t>(got);
  };
  while (filled < bytes.size()) {
    const std::size_t got = read_some(bytes.data() + filled, std::min(bytes.size() - filled, std::size_t{1} << 30));
    if (got == 0) break;
    filled += got;
  }
  std::byte beyond{};
  struct stat after {};
  const bool steady = filled == bytes.size() && read_some(&beyond, 1) == 0 && ::fstat(file.get(), &after) == 0 &&
                      after.st_size == before.st_size && after.st_mtim.tv_sec == before.st_mtim.tv_sec &&
                      after.st_mtim.tv_nsec == before.st_mtim.tv_nsec;
  if (!steady) fail<FileError>({"cannot read '", path, "': it changed while it was read; try again"});
  return bytes;
}

}  // namespace mien

#endif  // MIEN_HAS_FILES
