/* Runs the checker on cases from standard input, and prints the result of each one.
 *
 * A case is, with little-endian numbers and each text after its length in 4 bytes: the keys, the target of the device,
 * its installed version, capacity, and time (4 bytes each), the digest of its installed model (32 bytes), the role
 * file, the model, and the number of bytes of the model that arrive at a time (4 bytes). A line has the status, and the
 * version, expiry, and size that the role file says. Each text is in memory of exactly its size. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "role_check.h"

static int read_bytes(uint8_t *content, size_t bytes) { return fread(content, 1, bytes, stdin) == bytes; }

static int read_number(uint32_t *number) {
  uint8_t bytes[4];
  if (!read_bytes(bytes, sizeof bytes)) return 0;
  *number = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
  return 1;
}

static uint8_t *read_text(uint32_t *bytes) {
  if (!read_number(bytes)) exit(0); /* the end */
  uint8_t *content = malloc(*bytes ? *bytes : 1);
  if (content == NULL || !read_bytes(content, *bytes)) exit(64);
  return content;
}

static edgemill_status check_model(const edgemill_role *role, const uint8_t *model, uint32_t bytes, uint32_t step) {
  edgemill_model_check check;
  edgemill_status status = edgemill_model_begin(&check, role);
  if (status != EDGEMILL_OK) return status;
  for (uint32_t from = 0; from < bytes; from += step) {
    const uint32_t some = bytes - from < step ? bytes - from : step;
    uint8_t *part = malloc(some);
    memcpy(part, model + from, some);
    edgemill_model_add(&check, part, some); /* Its result is that of the end, too. */
    free(part);
  }
  return edgemill_model_end(&check);
}

int main(void) {
  for (;;) {
    edgemill_device device = {0};
    edgemill_role role;
    uint32_t key_bytes, target_bytes, file_bytes, model_bytes, step;
    uint8_t *keys = read_text(&key_bytes), *target = read_text(&target_bytes);
    char *text = calloc(target_bytes + 1, 1);
    memcpy(text, target, target_bytes);
    device.keys = (const uint8_t(*)[EDGEMILL_KEY_BYTES])keys;
    device.key_count = key_bytes / EDGEMILL_KEY_BYTES;
    device.target = text;
    if (!read_number(&device.installed_version) || !read_number(&device.capacity) || !read_number(&device.now) ||
        !read_bytes(device.installed_sha256, sizeof device.installed_sha256)) {
      return 64;
    }
    uint8_t *file = read_text(&file_bytes), *model = read_text(&model_bytes);
    if (!read_number(&step)) return 64;
    edgemill_status status = edgemill_check_role(&device, file, file_bytes, &role);
    if (status == EDGEMILL_OK) status = check_model(&role, model, model_bytes, step);
    printf("%d %lu %lu %lu\n", (int)status, (unsigned long)role.version, (unsigned long)role.expires,
           (unsigned long)role.model_bytes);
    free(model);
    free(file);
    free(text);
    free(target);
    free(keys);
  }
}
