// Sums of 8-bit values times 22-bit weights, sixteen sums at a time and four terms at once: with
// AVX-512 VNNI, with AVX2, or with nothing but C++. All give the same integers.
//
// A vector `Lanes` holds sixteen times four bytes, which `Sums::add` multiplies by four weights.
// What has to be read and written is of two kinds:
//   quads: the bytes of four rows at a place, one after the other, for sums along the columns;
//   pixels: three channels of four bytes, for sums along the rows, of four rows at a time.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

constexpr int kWeightBits = 22;
constexpr int32_t kHalf = 1 << (kWeightBits - 1);

#if defined(__AVX2__)
inline __m128i load16(const uint8_t* in) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
}

inline void store16(__m128i bytes, uint8_t* out) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
}

#endif

#if defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512VNNI__)

typedef __m512i Lanes;

// Four weights, each as three signed bytes times 2^16, 2^8 and 1; four bytes make an integer.
struct Weights {
  uint32_t high = 0, middle = 0, low = 0;

  void set(int i, int32_t weight) {
    const int8_t l = static_cast<int8_t>(weight);
    const int8_t m = static_cast<int8_t>((weight - l) >> 8);
    const int8_t h = static_cast<int8_t>((weight - l - m * 256) >> 16);
    low |= static_cast<uint32_t>(static_cast<uint8_t>(l)) << 8 * i;
    middle |= static_cast<uint32_t>(static_cast<uint8_t>(m)) << 8 * i;
    high |= static_cast<uint32_t>(static_cast<uint8_t>(h)) << 8 * i;
  }
};

struct Sums {
  __m512i high = _mm512_setzero_si512(), middle = high, low = _mm512_set1_epi32(kHalf);

  void add(Lanes bytes, const Weights& weights) {
    high = _mm512_dpbusd_epi32(high, bytes, _mm512_set1_epi32(weights.high));
    middle = _mm512_dpbusd_epi32(middle, bytes, _mm512_set1_epi32(weights.middle));
    low = _mm512_dpbusd_epi32(low, bytes, _mm512_set1_epi32(weights.low));
  }

  __m512i rounded() const {
    const __m512i upper = _mm512_add_epi32(_mm512_slli_epi32(high, 8), middle);
    return _mm512_srai_epi32(_mm512_add_epi32(_mm512_slli_epi32(upper, 8), low), kWeightBits);
  }
};

inline Lanes load_quads(const uint8_t* in) { return _mm512_loadu_si512(in); }

inline void store_sums(const Sums& sums, uint8_t* out) {
  const __m512i positive = _mm512_max_epi32(sums.rounded(), _mm512_setzero_si512());
  store16(_mm512_cvtusepi32_epi8(positive), out);
}

// Four pixels of each row to (channel, pixel), the fourth channel zero.
inline Lanes load_pixels(const uint8_t* in, int64_t stride) {
  const __m512i order = _mm512_broadcast_i32x4(
      _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1));
  __m512i rows = _mm512_castsi128_si512(load16(in));
  rows = _mm512_mask_broadcast_i32x4(rows, 0x00f0, load16(in + stride));
  rows = _mm512_mask_broadcast_i32x4(rows, 0x0f00, load16(in + 2 * stride));
  rows = _mm512_mask_broadcast_i32x4(rows, 0xf000, load16(in + 3 * stride));
  return _mm512_shuffle_epi8(rows, order);
}

inline void store_pixels(const Sums (&sums)[4], uint8_t* out, int64_t plane) {
  const __m512i transposed = _mm512_broadcast_i32x4(
      _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const __m512i rows_last = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i bytes = _mm512_packus_epi16(_mm512_packs_epi32(sums[0].rounded(), sums[1].rounded()),
                                      _mm512_packs_epi32(sums[2].rounded(), sums[3].rounded()));
  // (row, pixel, channel) to (row, channel, pixel), (channel, row, pixel), (channel, pixel, row).
  bytes = _mm512_shuffle_epi8(bytes, transposed);
  bytes = _mm512_permutexvar_epi32(rows_last, bytes);
  bytes = _mm512_shuffle_epi8(bytes, transposed);
  store16(_mm512_castsi512_si128(bytes), out);
  store16(_mm512_extracti32x4_epi32(bytes, 1), out + plane);
  store16(_mm512_extracti32x4_epi32(bytes, 2), out + 2 * plane);
}

#elif defined(__AVX2__)

struct Lanes {
  __m256i first, second;
};

constexpr int kLowBits = 12;

// Four weights, each as two integers of 16 bits, times 2^12 and 1. Two integers make one of 32 bits:
// those of the bytes 0 and 2, and those of 1 and 3.
struct Weights {
  uint32_t high[2] = {0, 0}, low[2] = {0, 0};

  void set(int i, int32_t weight) {
    high[i % 2] |= static_cast<uint32_t>((weight >> kLowBits) & 0xffff) << 8 * (i & 2);
    low[i % 2] |= static_cast<uint32_t>(weight & ((1 << kLowBits) - 1)) << 8 * (i & 2);
  }
};

struct Sums {
  __m256i high[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  __m256i low[2] = {_mm256_set1_epi32(kHalf), _mm256_set1_epi32(kHalf)};

  void add(const Lanes& bytes, const Weights& weights) {
    for (int half = 0; half < 2; ++half) {
      const __m256i four = half ? bytes.second : bytes.first;
      const __m256i even = _mm256_and_si256(four, _mm256_set1_epi16(255));
      const __m256i odd = _mm256_srli_epi16(four, 8);
      high[half] = _mm256_add_epi32(high[half], product(even, weights.high[0]));
      high[half] = _mm256_add_epi32(high[half], product(odd, weights.high[1]));
      low[half] = _mm256_add_epi32(low[half], product(even, weights.low[0]));
      low[half] = _mm256_add_epi32(low[half], product(odd, weights.low[1]));
    }
  }

  static __m256i product(__m256i values, uint32_t pair) {
    return _mm256_madd_epi16(values, _mm256_set1_epi32(pair));
  }

  __m256i rounded(int half) const {
    const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high[half], kLowBits), low[half]);
    return _mm256_srai_epi32(sum, kWeightBits);
  }
};

inline Lanes load_quads(const uint8_t* in) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(in)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + 32))};
}

inline void store_sums(const Sums& sums, uint8_t* out) {
  const __m256i words = _mm256_permute4x64_epi64(
      _mm256_packus_epi32(sums.rounded(0), sums.rounded(1)), _MM_SHUFFLE(3, 1, 2, 0));
  store16(_mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)), out);
}

// Four pixels of each row to (channel, pixel), the fourth channel zero.
inline Lanes load_pixels(const uint8_t* in, int64_t stride) {
  const __m256i order = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1));
  const __m256i first = _mm256_inserti128_si256(_mm256_castsi128_si256(load16(in)),
                                                load16(in + stride), 1);
  const __m256i second = _mm256_inserti128_si256(_mm256_castsi128_si256(load16(in + 2 * stride)),
                                                 load16(in + 3 * stride), 1);
  return {_mm256_shuffle_epi8(first, order), _mm256_shuffle_epi8(second, order)};
}

inline void store_pixels(const Sums (&sums)[4], uint8_t* out, int64_t plane) {
  const __m256i transposed = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const __m256i rows_last = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15));
  __m256i rows[2];  // 0 and 1, 2 and 3, each (channel, pixel)
  for (int half = 0; half < 2; ++half) {
    const __m256i bytes = _mm256_packus_epi16(
        _mm256_packs_epi32(sums[0].rounded(half), sums[1].rounded(half)),
        _mm256_packs_epi32(sums[2].rounded(half), sums[3].rounded(half)));
    rows[half] = _mm256_shuffle_epi8(bytes, transposed);
  }
  // Two channels of the rows 0, 2, 1, 3, in this order, and the third channel.
  const __m256i both = _mm256_permute4x64_epi64(_mm256_unpacklo_epi32(rows[0], rows[1]),
                                                _MM_SHUFFLE(3, 1, 2, 0));
  const __m256i third = _mm256_permute4x64_epi64(_mm256_unpackhi_epi32(rows[0], rows[1]),
                                                 _MM_SHUFFLE(3, 1, 2, 0));
  const __m256i channels = _mm256_shuffle_epi8(both, rows_last);
  store16(_mm256_castsi256_si128(channels), out);
  store16(_mm256_extracti128_si256(channels, 1), out + plane);
  store16(_mm256_castsi256_si128(_mm256_shuffle_epi8(third, rows_last)), out + 2 * plane);
}

#else

// Vectors of GCC and Clang, for any processor.
typedef int32_t Ints __attribute__((vector_size(16)));

struct Lanes {
  Ints terms[4][4];  // one of four rows or four columns, one of the four terms: four sums'
};

struct Weights {
  int32_t weight[4] = {0, 0, 0, 0};

  void set(int i, int32_t value) { weight[i] = value; }
};

struct Sums {
  Ints sum[4] = {Ints{} + kHalf, Ints{} + kHalf, Ints{} + kHalf, Ints{} + kHalf};

  void add(const Lanes& lanes, const Weights& weights) {
    for (int i = 0; i < 4; ++i) {
      for (int k = 0; k < 4; ++k) sum[i] += lanes.terms[i][k] * weights.weight[k];
    }
  }

  uint8_t rounded(int i, int j) const {
    return static_cast<uint8_t>(std::min(std::max(sum[i][j] >> kWeightBits, 0), 255));
  }
};

inline Lanes load_quads(const uint8_t* in) {
  Lanes lanes;
  for (int i = 0; i < 4; ++i, in += 16) {
    for (int k = 0; k < 4; ++k) lanes.terms[i][k] = Ints{in[k], in[4 + k], in[8 + k], in[12 + k]};
  }
  return lanes;
}

inline void store_sums(const Sums& sums, uint8_t* out) {
  for (int i = 0; i < 16; ++i) out[i] = sums.rounded(i / 4, i % 4);
}

// Four pixels of each row to (channel, pixel), the fourth channel zero.
inline Lanes load_pixels(const uint8_t* in, int64_t stride) {
  Lanes lanes;
  for (int row = 0; row < 4; ++row, in += stride) {
    for (int k = 0; k < 4; ++k) {
      lanes.terms[row][k] = Ints{in[3 * k], in[3 * k + 1], in[3 * k + 2], 0};
    }
  }
  return lanes;
}

inline void store_pixels(const Sums (&sums)[4], uint8_t* out, int64_t plane) {
  for (int c = 0; c < 3; ++c) {
    for (int x = 0; x < 4; ++x) {
      for (int row = 0; row < 4; ++row) out[c * plane + 4 * x + row] = sums[x].rounded(row, c);
    }
  }
}

#endif

// Three channels of `size` bytes to pixels.
inline void interleave(const uint8_t* const (&channels)[3], int size, uint8_t* out) {
  int x = 0;
#if defined(__AVX2__)
  // Where the bytes of a channel go in the first, second and third 16 bytes of 16 pixels.
  const __m128i places = _mm_setr_epi8(0, 11, 6, 1, 12, 7, 2, 13, 8, 3, 14, 9, 4, 15, 10, 5);
  const __m128i zeroth = _mm_setr_epi8(-1, 0, 0, -1, 0, 0, -1, 0, 0, -1, 0, 0, -1, 0, 0, -1);
  const __m128i first = _mm_setr_epi8(0, -1, 0, 0, -1, 0, 0, -1, 0, 0, -1, 0, 0, -1, 0, 0);
  for (; x + 16 <= size; x += 16, out += 48) {
    const __m128i c0 = _mm_shuffle_epi8(load16(channels[0] + x), places);
    const __m128i c1 = _mm_shuffle_epi8(load16(channels[1] + x), _mm_alignr_epi8(places, places, 15));
    const __m128i c2 = _mm_shuffle_epi8(load16(channels[2] + x), _mm_alignr_epi8(places, places, 14));
    store16(_mm_blendv_epi8(_mm_blendv_epi8(c2, c1, first), c0, zeroth), out);
    store16(_mm_blendv_epi8(_mm_blendv_epi8(c0, c2, first), c1, zeroth), out + 16);
    store16(_mm_blendv_epi8(_mm_blendv_epi8(c1, c0, first), c2, zeroth), out + 32);
  }
#endif
  for (; x < size; ++x, out += 3) {
    for (int c = 0; c < 3; ++c) out[c] = channels[c][x];
  }
}
