// The network of ../kernels with the products of its layers in bfloat16; attention, norms and losses stay in float32.
#if !defined(__AVX512BF16__)
#error "this processor has no products in bfloat16"
#endif
#include "product.h"
#define LAYER_PRODUCT bfloat16::product
#include "../kernels/network.cpp"  // NOLINT(bugprone-suspicious-include): the same network on other products
