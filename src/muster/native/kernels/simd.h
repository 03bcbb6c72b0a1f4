// Vectors of float: 16 lanes with AVX-512, 8 with AVX2 and FMA, else 4. Every operation is IEEE and acts lane by lane,
// products are fused where `fma` says so and nowhere else (-ffp-contract=off): builds for different widths agree bit for bit.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__)
enum { VW = 16, TILE = 12 };  // lanes of a vector; rows of a register tile
#elif defined(__AVX2__) && defined(__FMA__)
enum { VW = 8, TILE = 6 };
#else
enum { VW = 4, TILE = 6 };
#endif
enum { PANEL = 32, PARTS = PANEL / VW };  // tokens side by side in memory; vectors of a panel

typedef float V __attribute__((vector_size(VW * 4), aligned(4), may_alias));
typedef int32_t I __attribute__((vector_size(VW * 4), aligned(4), may_alias));

static INLINE V load(const float *p) { return *(const V *)p; }
static INLINE void store(float *p, V v) { *(V *)p = v; }
static INLINE V all(float x) { return x - (V){}; }
static INLINE V choose(I condition, V a, V b) { return condition ? a : b; }

static INLINE V fma(V a, V b, V c) {
#if defined(__AVX512F__)
  return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
  return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON)
  return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}
static INLINE V fma(V a, float b, V c) { return fma(a, all(b), c); }
static INLINE V fma(V a, V b, float c) { return fma(a, b, all(c)); }
static INLINE V fma(V a, float b, float c) { return fma(a, all(b), all(c)); }

static INLINE V root(V a) {
#if defined(__AVX512F__)
  return (V)_mm512_sqrt_ps((__m512)a);
#elif defined(__AVX2__) && defined(__FMA__)
  return (V)_mm256_sqrt_ps((__m256)a);
#else
  V r;
  for (int i = 0; i < VW; i++) r[i] = std::sqrt(a[i]);
  return r;
#endif
}

// The first n lanes of a vector, for the end of a row; the other lanes are 0, and are not written.
#if defined(__AVX2__) && defined(__FMA__) && !defined(__AVX512F__)
static INLINE __m256i first(long n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}
#endif
static INLINE V load(const float *p, long n) {
  if (n >= VW) return load(p);
#if defined(__AVX512F__)
  return (V)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif defined(__AVX2__) && defined(__FMA__)
  return (V)_mm256_maskload_ps(p, first(n));
#else
  V v = {};
  for (long i = 0; i < n; i++) v[i] = p[i];
  return v;
#endif
}
static INLINE void store(float *p, V v, long n) {
  if (n >= VW) return store(p, v);
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#elif defined(__AVX2__) && defined(__FMA__)
  _mm256_maskstore_ps(p, first(n), (__m256)v);
#else
  for (long i = 0; i < n; i++) p[i] = v[i];
#endif
}

static INLINE V absolute(V x) { return (V)((I)x & 0x7fffffff); }

// exp to about 1 ulp (Cephes' polynomial); NaN stays NaN, below −87 it is 0, above 88.7 infinite.
static INLINE V exponential(V x) {
  V c = choose(x < -87.3f, all(-87.3f), x);
  c = choose(c > 88.37f, all(88.37f), c);
  const V magic = all(12582912.f);  // 1.5 · 2²³: adding and subtracting it rounds to a whole number
  V n = fma(c, 1.44269504088896341f, magic) - magic;
  V r = fma(n, -0.693359375f, c);
  r = fma(n, 2.12194440e-4f, r);
  V p = fma(r, 1.9875691500e-4f, 1.3981999507e-3f);
  p = fma(p, r, 8.3334519073e-3f);
  p = fma(p, r, 4.1665795894e-2f);
  p = fma(p, r, 1.6666665459e-1f);
  p = fma(p, r, 5.0000001201e-1f);
  p = fma(p * r, r, r) + 1.f;
  I power = (__builtin_convertvector(n, I) + 127) << 23;
  V e = choose(x < -87.3f, (V){}, p * (V)power);
  return choose(x > 88.7f, all(INFINITY), e);
}

// Natural logarithm of positive normal numbers (Cephes' polynomial); what is infinite or NaN stays so.
static INLINE V logarithm(V x) {
  I bits = (I)x;
  V e = __builtin_convertvector(((bits >> 23) & 0xff) - 126, V);
  V m = (V)((bits & 0x007fffff) | 0x3f000000);
  I small = m < 0.707106781186547524f;
  e = choose(small, e - 1.f, e);
  m = choose(small, m + m, m) - 1.f;
  V z = m * m, y = fma(m, 7.0376836292e-2f, -1.1514610310e-1f);
  y = fma(y, m, 1.1676998740e-1f);
  y = fma(y, m, -1.2420140846e-1f);
  y = fma(y, m, 1.4249322787e-1f);
  y = fma(y, m, -1.6668057665e-1f);
  y = fma(y, m, 2.0000714765e-1f);
  y = fma(y, m, -2.4999993993e-1f);
  y = fma(y, m, 3.3333331174e-1f) * m * z;
  y = fma(e, -2.12194440e-4f, y);
  y = fma(z, -0.5f, y);
  V found = fma(e, 0.693359375f, m + y);
  return choose(x < INFINITY, found, x);
}

// Sum over the lanes of a panel by halves: the same order whatever a vector's width.
static INLINE float sum(const V (&v)[PARTS]) {
  float s[PANEL];
  for (int q = 0; q < PARTS; q++) store(s + q * VW, v[q]);
  for (int half = PANEL / 2; half; half /= 2)
    for (int i = 0; i < half; i++) s[i] += s[i + half];
  return s[0];
}

// dst[c · PANEL + r] = src[r · step + c] for rows × cols with rows ≤ PANEL; whole blocks go through registers.
#if defined(__AVX512F__)
static INLINE void transpose_block(const float *src, long step, float *dst) {
  __m512 t[16], u[16];
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) {  // four columns of rows i, i + 4, i + 8, i + 12
      __m512 a = _mm512_castps128_ps512(_mm_loadu_ps(src + i * step + 4 * j));
      a = _mm512_insertf32x4(a, _mm_loadu_ps(src + (i + 4) * step + 4 * j), 1);
      a = _mm512_insertf32x4(a, _mm_loadu_ps(src + (i + 8) * step + 4 * j), 2);
      t[4 * j + i] = _mm512_insertf32x4(a, _mm_loadu_ps(src + (i + 12) * step + 4 * j), 3);
    }
  for (int j = 0; j < 4; j++) {
    __m512d a = (__m512d)_mm512_unpacklo_ps(t[4 * j], t[4 * j + 1]), b = (__m512d)_mm512_unpackhi_ps(t[4 * j], t[4 * j + 1]);
    __m512d c = (__m512d)_mm512_unpacklo_ps(t[4 * j + 2], t[4 * j + 3]),
            d = (__m512d)_mm512_unpackhi_ps(t[4 * j + 2], t[4 * j + 3]);
    u[4 * j] = (__m512)_mm512_unpacklo_pd(a, c);
    u[4 * j + 1] = (__m512)_mm512_unpackhi_pd(a, c);
    u[4 * j + 2] = (__m512)_mm512_unpacklo_pd(b, d);
    u[4 * j + 3] = (__m512)_mm512_unpackhi_pd(b, d);
  }
  for (int j = 0; j < 16; j++) _mm512_storeu_ps(dst + j * PANEL, u[j]);
}
#elif defined(__AVX2__) && defined(__FMA__)
static INLINE void transpose_block(const float *src, long step, float *dst) {
  __m256 t[8], u[8];
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 2; j++) {  // four columns of rows i and i + 4
      __m256 a = _mm256_castps128_ps256(_mm_loadu_ps(src + i * step + 4 * j));
      t[4 * j + i] = _mm256_insertf128_ps(a, _mm_loadu_ps(src + (i + 4) * step + 4 * j), 1);
    }
  for (int j = 0; j < 2; j++) {
    __m256d a = (__m256d)_mm256_unpacklo_ps(t[4 * j], t[4 * j + 1]), b = (__m256d)_mm256_unpackhi_ps(t[4 * j], t[4 * j + 1]);
    __m256d c = (__m256d)_mm256_unpacklo_ps(t[4 * j + 2], t[4 * j + 3]),
            d = (__m256d)_mm256_unpackhi_ps(t[4 * j + 2], t[4 * j + 3]);
    u[4 * j] = (__m256)_mm256_unpacklo_pd(a, c);
    u[4 * j + 1] = (__m256)_mm256_unpackhi_pd(a, c);
    u[4 * j + 2] = (__m256)_mm256_unpacklo_pd(b, d);
    u[4 * j + 3] = (__m256)_mm256_unpackhi_pd(b, d);
  }
  for (int j = 0; j < 8; j++) _mm256_storeu_ps(dst + j * PANEL, u[j]);
}
#endif
static void transpose(const float *src, long step, float *dst, long rows, long cols) {
  long r = 0;
#if defined(__AVX2__) && defined(__FMA__)
  for (; r + VW <= rows; r += VW) {
    long c = 0;
    for (; c + VW <= cols; c += VW) transpose_block(src + r * step + c, step, dst + c * PANEL + r);
    for (; c < cols; c++)
      for (int i = 0; i < VW; i++) dst[c * PANEL + r + i] = src[(r + i) * step + c];
  }
#endif
  for (; r < rows; r++)
    for (long c = 0; c < cols; c++) dst[c * PANEL + r] = src[r * step + c];
}

// Flush denormals to zero while it lives: moments of dead units decay into them and would take a hundred times as long.
class Flush {
#if defined(__x86_64__)
  unsigned before = _mm_getcsr();

 public:
  Flush() { _mm_setcsr(before | 0x8040); }
  ~Flush() { _mm_setcsr(before); }
#elif defined(__aarch64__)
  uint64_t before;

 public:
  Flush() {
    asm volatile("mrs %0, fpcr" : "=r"(before));
    asm volatile("msr fpcr, %0" ::"r"(before | (1ull << 24)));
  }
  ~Flush() { asm volatile("msr fpcr, %0" ::"r"(before)); }
#else
 public:
  Flush() {}
#endif
};
