/* Changes a valid role file in every way that a gateway can without the key, and counts what the checker accepts.
 *
 *   attack_role KEY TARGET ROLE
 *
 * Prints the number of changed files, and the number of accepted ones. Each is in memory of exactly its size. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "role_check.h"

/* The order n of P-256, and n - 1, n + 1, the field's prime p, 1, and 0. */
static const uint8_t numbers[][32] = {
    {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51},
    {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x50},
    {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x52},
    {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0,
     0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
    {[31] = 1},
    {0},
};

static edgemill_device device;
static uint8_t key[1][EDGEMILL_KEY_BYTES];
static unsigned long tried, accepted;

static int is_accepted(const uint8_t *content, size_t bytes) {
  uint8_t *exact = malloc(bytes ? bytes : 1);
  edgemill_role role;
  memcpy(exact, content, bytes);
  const edgemill_status status = edgemill_check_role(&device, exact, bytes, &role);
  free(exact);
  return status == EDGEMILL_OK;
}

static void try_one(const uint8_t *content, size_t bytes) {
  tried++;
  accepted += is_accepted(content, bytes);
}

static size_t read_file(const char *path, uint8_t *content, size_t most) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) exit(64);
  const size_t found = fread(content, 1, most, file);
  fclose(file);
  return found;
}

int main(int count, char **arguments) {
  static uint8_t file[70000], changed[70000];
  if (count != 4 || read_file(arguments[1], key[0], sizeof key) != sizeof key) return 64;
  device.keys = (const uint8_t(*)[EDGEMILL_KEY_BYTES])key;
  device.key_count = 1;
  device.target = arguments[2];
  device.capacity = UINT32_MAX;
  const size_t bytes = read_file(arguments[3], file, sizeof file);
  if (!is_accepted(file, bytes)) return 1;

  for (size_t bit = 0; bit < 8 * bytes; bit++) { /* a flipped bit */
    memcpy(changed, file, bytes);
    changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
    try_one(changed, bytes);
  }
  for (size_t length = 0; length < bytes; length++) { /* truncated, and without its beginning */
    try_one(file, length);
    try_one(file + bytes - length, length);
  }
  for (size_t more = 1; more <= 64; more++) { /* longer */
    memcpy(changed, file, bytes);
    try_one(changed, bytes + more);
  }
  for (unsigned long length = 0; length <= 0xffff; length++) { /* every length of the target */
    memcpy(changed, file, bytes);
    changed[48] = (uint8_t)length;
    changed[49] = (uint8_t)(length >> 8);
    if (memcmp(changed, file, bytes) != 0) try_one(changed, bytes);
  }
  memcpy(changed, file, bytes); /* the largest target, in a file of its size */
  changed[48] = changed[49] = 0xff;
  try_one(changed, 50 + 0xffff + 64);
  for (int side = 0; side < 2; side++) { /* r or s, or both, as 0 or as large as possible */
    for (int value = 0; value <= 0xff; value += 0xff) {
      memcpy(changed, file, bytes);
      memset(changed + bytes - 64 + 32 * side, value, 32);
      try_one(changed, bytes);
      memset(changed + bytes - 64, value, 64);
      try_one(changed, bytes);
    }
  }
  for (size_t number = 0; number < sizeof numbers / sizeof numbers[0]; number++) { /* r or s, or both, at its borders */
    for (int which = 1; which <= 3; which++) {
      memcpy(changed, file, bytes);
      for (int side = 0; side < 2; side++) {
        if (which & 1 << side) memcpy(changed + bytes - 64 + 32 * side, numbers[number], 32);
      }
      try_one(changed, bytes);
    }
  }
  memcpy(changed, file, bytes); /* r and s exchanged */
  memcpy(changed + bytes - 64, file + bytes - 32, 32);
  memcpy(changed + bytes - 32, file + bytes - 64, 32);
  try_one(changed, bytes);
  device.key_count = 0; /* a device without keys */
  try_one(file, bytes);
  device.key_count = 1;
  for (size_t kind = 0; kind <= 0xff; kind++) { /* other forms of points, of which only the uncompressed one is a key */
    const uint8_t own = key[0][0];
    key[0][0] = (uint8_t)kind;
    if (key[0][0] != own) try_one(file, bytes);
    key[0][0] = own;
  }
  for (int flipped = 0; flipped < 8 * 64; flipped += 7) { /* points that aren't on the curve */
    key[0][1 + flipped / 8] ^= (uint8_t)(1u << flipped % 8);
    try_one(file, bytes);
    key[0][1 + flipped / 8] ^= (uint8_t)(1u << flipped % 8);
  }
  if (!is_accepted(file, bytes)) return 2;
  memset(key[0] + 1, 0, EDGEMILL_KEY_BYTES - 1);
  try_one(file, bytes);
  memset(key[0] + 1, 0xff, EDGEMILL_KEY_BYTES - 1);
  try_one(file, bytes);
  printf("%lu %lu\n", tried, accepted);
  return 0;
}
