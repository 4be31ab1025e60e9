// What every instruction set's file needs before its own definitions. The standard headers come first, outside any
// region compiled for an instruction set: an inline function of theirs compiled for it could be the one that the
// linker keeps for the whole program.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels.h"

#if defined(_MSC_VER) && !defined(__clang__)
#define ALWAYS_INLINE __forceinline
#define INLINE_LAMBDA
#else
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define REGARD_X86 1
#if defined(__GNUC__) && !defined(__clang__)  // GCC 12's own header starts vectors from themselves (GCC bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif
