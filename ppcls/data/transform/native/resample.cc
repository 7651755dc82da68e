// Resizes RGB images of 8 bits with antialiasing, bit for bit as Pillow does (its
// src/libImaging/Resample.c defines the arithmetic: weights of 22 bits, each of the two passes
// rounded to 8 bits), and computes only the part of the result that is asked for.
//
// Weights are doubles computed in Pillow's order of operations. Compile with -ffp-contract=off: a
// fused multiply-add rounds differently.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace {

constexpr int kWeightBits = 22;
constexpr int32_t kHalf = 1 << (kWeightBits - 1);

// As many integers as the processor adds at once, and their way from and to bytes.
#if defined(__AVX512F__)
constexpr int kLanes = 16;
typedef int32_t Ints __attribute__((vector_size(64)));
inline Ints widen(const uint8_t* in) {
  return (Ints)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in)));
}
inline void narrow(Ints sum, uint8_t* out) {
  const __m512i positive = _mm512_max_epi32((__m512i)sum, _mm512_setzero_si512());
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtusepi32_epi8(positive));
}
#elif defined(__AVX2__)
constexpr int kLanes = 8;
typedef int32_t Ints __attribute__((vector_size(32)));
inline Ints widen(const uint8_t* in) {
  return (Ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(in)));
}
inline void narrow(Ints sum, uint8_t* out) {
  const __m256i halves = _mm256_packus_epi32((__m256i)sum, (__m256i)sum);
  const __m256i quarters = _mm256_packus_epi16(halves, halves);
  const int32_t low = _mm256_extract_epi32(quarters, 0), high = _mm256_extract_epi32(quarters, 4);
  std::memcpy(out, &low, 4);
  std::memcpy(out + 4, &high, 4);
}
#else
constexpr int kLanes = 4;
typedef int32_t Ints __attribute__((vector_size(16)));
inline Ints widen(const uint8_t* in) { return Ints{in[0], in[1], in[2], in[3]}; }
inline void narrow(Ints sum, uint8_t* out) {
  for (int i = 0; i < kLanes; ++i) out[i] = std::min(std::max(sum[i], 0), 255);
}
#endif

double bilinear(double x) {
  x = std::fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

// Keys' cubic with a = -0.5.
double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

struct Filter {
  double (*weight)(double);
  double support;
};

constexpr Filter kFilters[] = {{bilinear, 1.0}, {bicubic, 2.0}};

// Which input samples the output samples [begin, end) are made of, and their weights.
struct Taps {
  int stride;
  std::vector<int> first;
  std::vector<int> count;
  std::vector<int32_t> weights;  // `stride` per output sample

  Taps(const Filter& filter, int in_size, int out_size, int begin, int end) {
    // Pillow keeps lengths as floats.
    const double scale = static_cast<double>(static_cast<float>(in_size)) / out_size;
    const double filter_scale = std::max(scale, 1.0);
    const double support = filter.support * filter_scale;
    stride = static_cast<int>(std::ceil(support)) * 2 + 1;
    first.resize(end - begin);
    count.resize(end - begin);
    weights.assign(static_cast<size_t>(end - begin) * stride, 0);
    std::vector<double> exact(stride);
    const double inverse = 1.0 / filter_scale;
    for (int i = begin; i < end; ++i) {
      const double center = (i + 0.5) * scale;
      const int low = std::max(static_cast<int>(center - support + 0.5), 0);
      const int high = std::min(static_cast<int>(center + support + 0.5), in_size);
      double sum = 0.0;
      for (int k = 0; k < high - low; ++k) {
        exact[k] = filter.weight((k + low - center + 0.5) * inverse);
        sum += exact[k];
      }
      first[i - begin] = low;
      count[i - begin] = high - low;
      int32_t* rounded = &weights[static_cast<size_t>(i - begin) * stride];
      for (int k = 0; k < high - low; ++k) {
        const double w = (sum != 0.0 ? exact[k] / sum : exact[k]) * (1 << kWeightBits);
        rounded[k] = static_cast<int>(w < 0 ? w - 0.5 : w + 0.5);
      }
    }
  }

  int begin() const { return first.front(); }
  int end() const { return first.back() + count.back(); }
};

constexpr int kRows = kLanes / 4;

// Four bytes to integers: a pixel, and a byte of the next one.
inline void widen_pixel(const uint8_t* in, int32_t* out) {
#ifdef __AVX2__
  int32_t pixel;
  std::memcpy(&pixel, in, 4);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_cvtepu8_epi32(_mm_cvtsi32_si128(pixel)));
#else
  for (int c = 0; c < 4; ++c) out[c] = in[c];
#endif
}

// Filters along the rows, `kRows` of them at a time: pixels of one row have different weights.
//   in: pixels of 3 bytes; out: (rows, size of taps) pixels of 4 bytes, the fourth of no meaning.
void filter_rows(const uint8_t* in, int64_t stride, int rows, const Taps& taps, uint8_t* out) {
  const int size = static_cast<int>(taps.first.size());
  const int begin = taps.begin(), length = taps.end() - begin;
  std::vector<Ints> pixels(length);
  for (int y = 0; y < rows; y += kRows) {
    const int n = std::min(kRows, rows - y);
    for (int r = 0; r < n; ++r) {
      const uint8_t* row = in + (y + r) * stride + 3 * begin;
      int32_t* lanes = reinterpret_cast<int32_t*>(pixels.data()) + 4 * r;
      for (int x = 0; x < length - 1; ++x, row += 3, lanes += kLanes) widen_pixel(row, lanes);
      // The last pixel may be the end of the image's memory.
      for (int c = 0; c < 3; ++c) lanes[c] = row[c];
    }
    for (int i = 0; i < size; ++i) {
      const Ints* pixel = &pixels[taps.first[i] - begin];
      const int32_t* weight = &taps.weights[static_cast<size_t>(i) * taps.stride];
      Ints sum = Ints{} + kHalf;
      for (int k = 0; k < taps.count[i]; ++k) sum += pixel[k] * weight[k];
      uint8_t bytes[kLanes];
      narrow(sum >> kWeightBits, bytes);
      for (int r = 0; r < n; ++r) {
        std::memcpy(out + 4 * (static_cast<int64_t>(y + r) * size + i), bytes + 4 * r, 4);
      }
    }
  }
}

// Filters along the columns.
//   in: rows of `length` bytes; out: (size of taps) rows of `length` bytes.
void filter_columns(const uint8_t* in, int64_t stride, int length, const Taps& taps, uint8_t* out) {
  for (size_t y = 0; y < taps.first.size(); ++y, out += length) {
    const uint8_t* top = in + taps.first[y] * stride;
    const int32_t* weight = &taps.weights[y * taps.stride];
    const int count = taps.count[y];
    int i = 0;
    for (; i + 2 * kLanes <= length; i += 2 * kLanes) {
      Ints left = Ints{} + kHalf, right = left;
      const uint8_t* bytes = top + i;
      for (int k = 0; k < count; ++k, bytes += stride) {
        left += widen(bytes) * weight[k];
        right += widen(bytes + kLanes) * weight[k];
      }
      narrow(left >> kWeightBits, out + i);
      narrow(right >> kWeightBits, out + i + kLanes);
    }
    for (; i < length; ++i) {
      int32_t sum = kHalf;
      for (int k = 0; k < count; ++k) sum += top[k * stride + i] * weight[k];
      out[i] = static_cast<uint8_t>(std::min(std::max(sum >> kWeightBits, 0), 255));
    }
  }
}

}  // namespace

extern "C" {

// Resizes an image to out_width x out_height, and gives of the result the part
// [top, top + crop_height) x [left, left + crop_width).
//   pixels: (height, width, 3), rows `stride` bytes apart;
//   filter: 0 bilinear, 1 bicubic;
//   columns_first: filter along the columns before the rows;
//   swap: reverse the channels;
//   bytes: receives (crop_height, crop_width, 3), unless there are
//   planes: receives (3, crop_height, crop_width), (value * scale - mean[c]) / std[c] in float.
void ppcls_resample(const uint8_t* pixels, int64_t stride, int width, int height, int filter,
                    int columns_first, int out_width, int out_height, int left, int top,
                    int crop_width, int crop_height, int swap, uint8_t* bytes, float scale,
                    const float* mean, const float* std, float* planes) {
  const Taps across(kFilters[filter], width, out_width, left, left + crop_width);
  const Taps down(kFilters[filter], height, out_height, top, top + crop_height);
  const int64_t size = static_cast<int64_t>(crop_width) * crop_height;
  std::vector<uint32_t> result(size);
  uint8_t* out = reinterpret_cast<uint8_t*>(result.data());
  if (columns_first) {
    const int length = 3 * width;
    std::vector<uint8_t> shorter(static_cast<size_t>(crop_height) * length);
    filter_columns(pixels, stride, length, down, shorter.data());
    filter_rows(shorter.data(), length, crop_height, across, out);
  } else {
    const int rows = down.end() - down.begin(), length = 4 * crop_width;
    std::vector<uint8_t> narrower(static_cast<size_t>(rows) * length);
    filter_rows(pixels + down.begin() * stride, stride, rows, across, narrower.data());
    filter_columns(narrower.data() - static_cast<int64_t>(down.begin()) * length, length, length,
                   down, out);
  }
  if (planes == nullptr) {
    for (int64_t i = 0; i < size; ++i) {
      for (int c = 0; c < 3; ++c) bytes[3 * i + c] = out[4 * i + (swap ? 2 - c : c)];
    }
    return;
  }
  for (int c = 0; c < 3; ++c, planes += size) {
    const int shift = 8 * (swap ? 2 - c : c);
    for (int64_t i = 0; i < size; ++i) {
      planes[i] = (static_cast<float>(result[i] >> shift & 255) * scale - mean[c]) / std[c];
    }
  }
}
}
