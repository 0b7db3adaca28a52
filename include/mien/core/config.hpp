// Version and feature tests: the only file that asks the compiler and the platform what they have.
#pragma once

#define MIEN_VERSION_MAJOR 0
#define MIEN_VERSION_MINOR 1
#define MIEN_VERSION_PATCH 0
#define MIEN_VERSION "0.1.0"

// Each may be set to 0 from outside, to build the portable core (see docs/design.md) where a feature exists but is
// not wanted.
#ifndef MIEN_HAS_EXCEPTIONS
#if defined(__cpp_exceptions)
#define MIEN_HAS_EXCEPTIONS 1
#else
#define MIEN_HAS_EXCEPTIONS 0
#endif
#endif

#ifndef MIEN_HAS_THREADS
#if defined(__wasi__) && !defined(_REENTRANT)
#define MIEN_HAS_THREADS 0
#else
#define MIEN_HAS_THREADS 1
#endif
#endif

#ifndef MIEN_HAS_FILES
#if defined(__unix__) && !defined(__wasi__)
#define MIEN_HAS_FILES 1
#else
#define MIEN_HAS_FILES 0
#endif
#endif

// Kernels for AVX2, AVX-512 and AMX: GCC or clang on x86-64 Linux.
#ifndef MIEN_HAS_X86_KERNELS
#if defined(__x86_64__) && defined(__GNUC__) && defined(__linux__)
#define MIEN_HAS_X86_KERNELS 1
#else
#define MIEN_HAS_X86_KERNELS 0
#endif
#endif
