// C[M × N] = epilogue(A B). A tile of TILE × 2 vectors of C stays in registers while k runs; nothing is packed, because
// B lies in panels of 32 columns (row k of panel p at B + p · panel + 32 k) and A is read one number at a time.
#pragma once
#include <unistd.h>

#include "simd.h"

// The axis that is summed over, in segments. Where A is read along its rows, a segment of A follows the one before at
// `jump`, and every segment of B begins PANEL rows later: that is how a sum over tokens goes from panel to panel.
struct Depth {
  long segments, length;
  const int64_t *counts;  // length of each segment; null: `length`
  long jump;
};

// Rows of A: element (i, k) at A[i · step + k], or at A[k · step + i] where it is TRANSPOSED.
struct Left {
  const float *data;
  long step;
};

template <int R, int NV, bool TRANSPOSED>
static INLINE void tile(const float *a, long step, long ahead, const float *b, const Depth &depth, V (&c)[R][NV]) {
  for (int i = 0; i < R; i++)
    for (int j = 0; j < NV; j++) c[i][j] = (V){};
  for (long s = 0; s < depth.segments; s++, a += depth.jump, b += PANEL * PANEL) {
    const long n = depth.counts ? depth.counts[s] : depth.length;
    const float *right = b;
    if (TRANSPOSED) {
      const float *left = a;
      for (long k = 0; k < n; k++, left += step, right += PANEL) {
        __builtin_prefetch(left + ahead);
        V y[NV];
        for (int j = 0; j < NV; j++) y[j] = load(right + j * VW);
        for (int i = 0; i < R; i++)
          for (int j = 0; j < NV; j++) c[i][j] = fma(all(left[i]), y[j], c[i][j]);
      }
    } else {
      enum { Q = (R + 2) / 3 };  // three rows a pointer: more pointers than registers would be read from memory
      const float *left[Q], *next = a + ahead;
      for (int q = 0; q < Q; q++) left[q] = a + 3 * q * step;
      for (long k = 0; k < n; k++, right += PANEL) {
        __builtin_prefetch(next);
        next += ahead ? 16 : 0;
        V y[NV];
        for (int j = 0; j < NV; j++) y[j] = load(right + j * VW);
#pragma GCC unroll 4
        for (int q = 0; q < Q; q++) {
          for (int i = 0; i < 3; i++)
            if (3 * q + i < R)
              for (int j = 0; j < NV; j++) c[3 * q + i][j] = fma(all(left[q][i * step]), y[j], c[3 * q + i][j]);
          left[q]++;
        }
      }
    }
  }
}

// A tile into memory, where a long epilogue is a loop over it: one copy of its code, and of this, for all of them.
template <int R, int NV, bool TRANSPOSED>
static __attribute__((noinline)) void keep(const float *a, long step, long ahead, const float *b, const Depth &depth,
                                           float *to) {
  V c[R][NV];
  tile<R, NV, TRANSPOSED>(a, step, ahead, b, depth, c);
  for (int r = 0; r < R; r++)
    for (int q = 0; q < NV; q++) store(to + (2 * r + q) * VW, c[r][q]);
}

template <class Epilogue>
static __attribute__((noinline)) void apply(const float *kept, long count, long i, long j, long n, const Epilogue &epilogue) {
  if (n >= 2 * VW) {  // whole vectors: no lane is asked whether it counts
#pragma GCC unroll 1
    for (long r = 0; r < count; r++, kept += 2 * VW) {
      epilogue(i + r, j, load(kept), VW);
      epilogue(i + r, j + VW, load(kept + VW), VW);
    }
    return;
  }
#pragma GCC unroll 1
  for (long r = 0; r < count; r++, kept += 2 * VW) {
    epilogue(i + r, j, load(kept), n);
    if (n > VW) epilogue(i + r, j + VW, load(kept + VW), n - VW);
  }
}

// One tile and its epilogue: epilogue(i, j, value, n), where n columns from j on count.
template <int R, int NV, bool TRANSPOSED, class Epilogue>
static __attribute__((noinline)) void block(const float *a, long step, long ahead, const float *b, const Depth &depth, long i,
                                            long j, const Epilogue &epilogue) {
  V c[R][NV];
  tile<R, NV, TRANSPOSED>(a, step, ahead, b, depth, c);
  for (int r = 0; r < R; r++)
    for (int q = 0; q < NV; q++) epilogue(i + r, j + q * VW, c[r][q], VW);
}

template <int R, bool TRANSPOSED, class Epilogue>
static inline void rows(long m, const float *a, long step, long ahead, const float *b, const Depth &depth, long i, long j,
                        long n, const Epilogue &epilogue) {
  if constexpr (R >= 1) {
    if (m < R) return rows<R - 1, TRANSPOSED>(m, a, step, ahead, b, depth, i, j, n, epilogue);
    if constexpr (Epilogue::heavy) {
      alignas(64) float kept[R * 2 * VW];
      if (ahead) epilogue.prefetch(i, R, j);
      if (n > VW)
        keep<R, 2, TRANSPOSED>(a, step, ahead, b, depth, kept);
      else
        keep<R, 1, TRANSPOSED>(a, step, ahead, b, depth, kept);
      apply(kept, R, i, j, n, epilogue);
    } else {
      block<R, 2, TRANSPOSED>(a, step, ahead, b, depth, i, j, epilogue);
    }
  }
}

enum { FIRST_LEVEL = 12000 };  // floats of 48 KiB

// Floats of half the second-level cache: what B may take if A is to pass once.
static long cached() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  static const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return (bytes > 0 ? bytes : 1 << 20) / 8;
#else
  return 1 << 17;
#endif
}

// Rows are cut evenly, so that no thin remainder is left. What no first-level cache holds is fetched ahead: the next rows of
// A, and what a step of the optimizer will read.
template <bool TRANSPOSED, class Epilogue>
static void product(long M, long N, const Depth &depth, Left left, const float *b, long panel, const Epilogue &epilogue) {
  const long K = depth.segments * depth.length, cuts = (M + TILE - 1) / TILE, base = M / cuts, extra = M % cuts;
  const bool rows_outside = K * N <= cached();
  const bool far = M * (Epilogue::panels ? K : N) > FIRST_LEVEL;
  const long ahead = !far ? 0 : TRANSPOSED ? 12 * left.step + TILE - 1 : TILE * left.step;
  const long group = rows_outside ? N : 2 * VW;
  for (long first = 0; first < N; first += group)
    for (long c = 0, i = 0; c < cuts; c++) {
      const long m = base + (c < extra);
      const float *a = left.data + (TRANSPOSED ? i : i * left.step);
      for (long j = first; j < N && j < first + group; j += 2 * VW)
        rows<TILE, TRANSPOSED>(m, a, left.step, ahead, b + j / PANEL * panel + j % PANEL, depth, i, j, N - j, epilogue);
      i += m;
    }
}
