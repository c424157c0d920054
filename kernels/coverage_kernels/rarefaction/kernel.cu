// Expected distinct cells in m prompts drawn from an account's n; README.md has the formula.
// nvcc and CuPy's NVRTC compile all of it; a plain C++ compiler gets the formula and a loop in place of the
// grid of warps, so that the formula is tested where there is no GPU.

#ifdef __CUDACC__
#define DEVICE __device__ __forceinline__
#else
#include <cmath>
#define DEVICE static inline
#endif

typedef long long int64;

#define LANES 32

// What Stirling's formula leaves of ln Gamma(x): ln Gamma(x) - [(x - 1/2) ln x - x + ln(2 pi) / 2].
// From 16 on five terms of the series are exact to double precision.
DEVICE double stirling_remainder(double x) {
  if (x < 16.0) return lgamma(x) - ((x - 0.5) * log(x) - x + 0.91893853320467274);
  const double square = 1.0 / (x * x);
  return (1.0 / 12 - square * (1.0 / 360 - square * (1.0 / 1260 - square * (1.0 / 1680 - square / 1188)))) / x;
}

// ln[C(n - r, m) / C(n, m)]: the chance that none of r marked prompts is among m drawn. Needs r + m <= n.
// Four log-gamma values near n ln n would cancel to few digits; here their large terms cancel on paper.
DEVICE double log_absence(int64 n, int64 r, int64 m) {
  const double few = (double)(r < m ? r : m);
  const double many = (double)(r < m ? m : r);
  const double whole = (double)n + 1.0;
  const double rest = whole - many;
  return (whole - few - 0.5) * log1p(-few / whole) - (rest - few - 0.5) * log1p(-few / rest) +
         few * log1p(-many / whole) + stirling_remainder(rest) - stirling_remainder(rest - few) -
         stirling_remainder(whole) + stirling_remainder(whole - few);
}

// One lane's share of the sum over distinct counts: entries begin + lane, begin + lane + LANES, ...
DEVICE double lane_sum(const int64* size, const int64* frequency, int64 begin, int64 end, int64 n, int64 m,
                       int lane) {
  double sum = 0.0;
  for (int64 i = begin + lane; i < end; i += LANES) {
    const bool always_drawn = size[i] + m > n;
    const double present = always_drawn ? 1.0 : -expm1(log_absence(n, size[i], m));
    sum += (double)frequency[i] * present;
  }
  return sum;
}

#ifdef __CUDACC__

// One warp for each grid point.
extern "C" __global__ void rarefaction(const int64* size, const int64* frequency, const int64* offsets,
                                       const int64* prompts, const int64* account, const int64* grid,
                                       int64 points, double* expected) {
  const int64 point = ((int64)blockIdx.x * blockDim.x + threadIdx.x) / LANES;
  const int lane = threadIdx.x % LANES;
  if (point >= points) return;  // The same for all lanes of a warp.
  const int64 a = account[point];
  double sum = lane_sum(size, frequency, offsets[a], offsets[a + 1], prompts[a], grid[point], lane);
  for (int distance = LANES / 2; distance > 0; distance /= 2)
    sum += __shfl_down_sync(0xffffffffu, sum, distance);
  if (lane == 0) expected[point] = sum;
}

#else

extern "C" void rarefaction(const int64* size, const int64* frequency, const int64* offsets,
                            const int64* prompts, const int64* account, const int64* grid, int64 points,
                            double* expected) {
  for (int64 point = 0; point < points; ++point) {
    const int64 a = account[point];
    double lanes[LANES];
    for (int lane = 0; lane < LANES; ++lane)
      lanes[lane] = lane_sum(size, frequency, offsets[a], offsets[a + 1], prompts[a], grid[point], lane);
    for (int distance = LANES / 2; distance > 0; distance /= 2)
      for (int lane = 0; lane < distance; ++lane) lanes[lane] += lanes[lane + distance];
    expected[point] = lanes[0];
  }
}

#endif
