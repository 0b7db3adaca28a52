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

// Stands before the bodies in the folders impl/, which are read with the headers that declare them. A program that
// links mien::precompiled (MIEN_PRECOMPILED) does not read them: the library's source (MIEN_PRECOMPILING) has them as
// plain functions. In a class only before virtual functions: with one that is not inline, a class would have its table
// of virtual functions, and all that they call, in every program that reads it.
#if defined(MIEN_PRECOMPILED) || defined(MIEN_PRECOMPILING)
#define MIEN_BODY
#else
#define MIEN_BODY inline
#endif

// Before what runs once for a file, a layer, a batch, a run or an error, not in what users call in loops of their own
// (g++ takes code around such a call for cold too): compiled for size, which is sooner done.
#if defined(__GNUC__)
#define MIEN_COLD [[gnu::cold]]
#else
#define MIEN_COLD
#endif
