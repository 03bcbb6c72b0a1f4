// C[M × N] = epilogue(A B) with operands rounded to bfloat16 and sums in float32. Both operands are converted as they are
// packed: A into blocks of 16 rows × 64 numbers of k, B into pairs of k side by side, 16 columns a row. Then tiles of 32 × 32
// of C: in the matrix unit (AMX) where the system lends it, else in vectors (AVX512_BF16).
#pragma once
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

#include "../kernels/product.h"

namespace bfloat16 {

typedef uint16_t Number;
enum { ROWS = 16, PAIRS = 16, DEPTH = 2 * PAIRS };              // of the matrix unit's tiles: rows, pairs of k, numbers of k
enum { BLOCK = ROWS * 2 * DEPTH, TWO = 2 * PAIRS * 2 * ROWS };  // numbers of a block of A, and of 32 × 32 of B

// Memory of a thread that grows to the largest product.
struct Packed {
  std::vector<Number> memory;
  Number *take(size_t size) {
    if (memory.size() < size + 32) memory.resize(size + 32);
    return (Number *)(((uintptr_t)memory.data() + 63) & ~(uintptr_t)63);  // NOLINT(performance-no-int-to-ptr): to a line
  }
};
static thread_local Packed packed_left, packed_right;

// 16 numbers of `low` and of `high`, to nearest even: those of `low` first.
static INLINE __m512i round_two(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }

// 32 numbers from p on, of which `n` count; the others are 0.
static INLINE __m512i round_row(const float *p, long n) {
  return round_two((__m512)load(p, n < 0 ? 0 : n), (__m512)load(p + VW, n - VW < 0 ? 0 : n - VW));
}

// Pairs (low[i], high[i]) side by side.
static INLINE __m512i pairs(__m512 low, __m512 high) {
  alignas(64) static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(order), round_two(low, high));
}

static long blocks_of(const Depth &depth) { return depth.segments * ((depth.length + DEPTH - 1) / DEPTH); }

// Rows i … i + 15 of A, rows beyond M as 0: to[16 · 64 · (k / 64) + 64 · row + k % 64].
static void pack_rows(Left left, const Depth &depth, long i, long M, Number *to) {
  const long each = (depth.length + DEPTH - 1) / DEPTH;
  for (long r = 0; r < ROWS; r++) {
    const float *row = left.data + (i + r) * left.step;
    long block = 0;
    for (long s = 0; s < depth.segments; s++, row += depth.jump)
      for (long e = 0; e < each; e++, block++) {
        const long n = i + r < M ? (depth.counts ? depth.counts[s] : depth.length) - e * DEPTH : 0;
        Number *at = to + block / 2 * BLOCK + r * 2 * DEPTH + block % 2 * DEPTH;
        _mm512_store_si512(at, n > 0 ? round_row(row + e * DEPTH, n) : _mm512_setzero_si512());
      }
  }
}

// The same from A read down its columns, in one segment: pairs of k are turned as if they were floats.
static void pack_columns(Left left, long length, long i, long M, Number *to) {
  alignas(64) float pair[PAIRS * ROWS];
  const long n = M - i;
  for (long k = 0, block = 0; k < length; k += DEPTH, block++) {
    for (long p = 0; p < PAIRS; p++) {
      const float *low = left.data + (k + 2 * p) * left.step + i;
      const V first = k + 2 * p < length ? load(low, n) : (V){},
              second = k + 2 * p + 1 < length ? load(low + left.step, n) : (V){};
      _mm512_store_si512(pair + p * ROWS, pairs((__m512)first, (__m512)second));
    }
    transpose_block(pair, ROWS, (float *)(to + block / 2 * BLOCK + block % 2 * DEPTH));
  }
}

// A panel of B, 32 columns: for both halves of the columns [k / 2][16 columns][2].
static void pack_panel(const float *b, const Depth &depth, Number *to) {
  const long each = (depth.length + DEPTH - 1) / DEPTH;
  for (long s = 0; s < depth.segments; s++, b += PANEL * PANEL) {
    const long n = depth.counts ? depth.counts[s] : depth.length;
    for (long e = 0; e < each; e++, to += TWO)
      for (long p = 0; p < PAIRS; p++) {
        const long k = e * DEPTH + 2 * p;
        const float *low = b + k * PANEL;
        for (int half = 0; half < 2; half++) {
          const V first = k < n ? load(low + half * VW) : (V){}, second = k + 1 < n ? load(low + PANEL + half * VW) : (V){};
          _mm512_store_si512(to + half * PAIRS * DEPTH + p * DEPTH, pairs((__m512)first, (__m512)second));
        }
      }
  }
}

// 32 × 32 numbers of C into memory, in vectors: rows of 32. A: two blocks of rows, `right` after `left` in steps of `step`.
static void by_vectors(const Number *a, long step, const Number *b, long blocks, long rows, float *c) {
  for (long r = 0; r < rows; r += 8) {
    __m512 sum[8][2];
    for (int i = 0; i < 8; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    const Number *left = a + r / ROWS * step + r % ROWS * 2 * DEPTH;
    for (long k = 0; k < blocks; k++) {
      const Number *row = left + k / 2 * BLOCK + k % 2 * DEPTH, *right = b + k * TWO;
      for (long p = 0; p < PAIRS; p++) {
        const __m512bh y = (__m512bh)_mm512_load_si512(right + p * DEPTH),
                       z = (__m512bh)_mm512_load_si512(right + PAIRS * DEPTH + p * DEPTH);
        for (int i = 0; i < 8; i++) {
          int32_t both;
          memcpy(&both, row + i * 2 * DEPTH + 2 * p, sizeof both);
          const __m512bh x = (__m512bh)_mm512_set1_epi32(both);
          sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, y);
          sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, z);
        }
      }
    }
    for (int i = 0; i < 8; i++)
      for (int half = 0; half < 2; half++) _mm512_storeu_ps(c + (r + i) * 2 * VW + half * VW, sum[i][half]);
  }
}

#if defined(__AMX_BF16__)
// Whether the system lends this process the matrix unit; asked once.
static bool lent() {
  static const bool found = syscall(SYS_arch_prctl, 0x1023, 18) == 0;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
  return found;
}

// Eight tiles of 16 rows × 64 bytes, for as long as it lives.
struct Tiles {
  Tiles() {
    alignas(64) uint8_t shape[64] = {1};  // palette 1
    for (int t = 0; t < 8; t++) {
      shape[16 + 2 * t] = 64;
      shape[48 + t] = ROWS;
    }
    _tile_loadconfig(shape);
  }
  ~Tiles() { _tile_release(); }
};

static void by_tiles(const Number *a, long step, const Number *b, long blocks, long rows, float *c) {
  enum { A_ROW = 4 * DEPTH, B_ROW = 2 * DEPTH, C_ROW = 4 * PANEL };  // bytes
  const bool lower = rows > ROWS;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (long k = 0; k < blocks; k++) {
    const Number *left = a + k / 2 * BLOCK + k % 2 * DEPTH, *right = b + k * TWO;
    _tile_loadd(4, left, A_ROW);
    _tile_loadd(6, right, B_ROW);
    _tile_loadd(7, right + PAIRS * DEPTH, B_ROW);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (lower) {
      _tile_loadd(5, left + step, A_ROW);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, C_ROW);
  _tile_stored(1, c + VW, C_ROW);
  if (!lower) return;
  _tile_stored(2, c + ROWS * PANEL, C_ROW);
  _tile_stored(3, c + ROWS * PANEL + VW, C_ROW);
}
#else
static bool lent() { return false; }
struct Tiles {};
static void by_tiles(const Number *, long, const Number *, long, long, float *) {}
#endif

// All of C's rows with B packed: columns outside, so that a panel of B stays in the first-level cache.
template <bool TRANSPOSED, class Epilogue>
static void product(long M, long N, const Depth &depth, Left left, const float *b, long panel, const Epilogue &epilogue) {
  const long blocks = blocks_of(depth), step = (blocks + 1) / 2 * BLOCK, panels = (N + PANEL - 1) / PANEL;
  Number *a = packed_left.take(2 * step), *packed = packed_right.take(panels * blocks * TWO);
  for (long p = 0; p < panels; p++) pack_panel(b + p * panel, depth, packed + p * blocks * TWO);
  alignas(64) float c[PANEL * PANEL];
  const bool far = M * N > FIRST_LEVEL;  // what the epilogue reads is fetched a tile ahead
  auto all_rows = [&](auto tile) {
    for (long i = 0; i < M; i += 2 * ROWS) {
      const long rows = M - i < 2 * ROWS ? M - i : 2 * ROWS;
      for (long r = 0; r < rows; r += ROWS)
        if (TRANSPOSED)
          pack_columns(left, depth.length, i + r, M, a + r / ROWS * step);
        else
          pack_rows(left, depth, i + r, M, a + r / ROWS * step);
      for (long p = 0; p < panels; p++) {
        if (far && p + 1 < panels) epilogue.prefetch(i, rows, (p + 1) * PANEL);
        tile(a, step, packed + p * blocks * TWO, blocks, rows, c);
        apply(c, rows, i, p * PANEL, N - p * PANEL, epilogue);
      }
    }
  };
  if (lent()) {
    const Tiles tiles;
    return all_rows(by_tiles);
  }
  all_rows(by_vectors);
}

}  // namespace bfloat16
