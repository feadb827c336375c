/* Reference checker for role files: whether a microcontroller may install a model.
 *
 * Needs mbedTLS 2.28 or 3.x with MBEDTLS_ECDSA_C, MBEDTLS_ECP_DP_SECP256R1_ENABLED, and MBEDTLS_SHA256_C. It allocates
 * only what mbedTLS allocates, and reads nothing behind the lengths that it gets. The format is in docs/gateway.md.
 */
#ifndef EDGEMILL_ROLE_CHECK_H
#define EDGEMILL_ROLE_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "mbedtls/md.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EDGEMILL_DIGEST_BYTES 32
#define EDGEMILL_KEY_BYTES 65 /* an uncompressed point: 4, x, y */
#define EDGEMILL_SIGNATURE_BYTES 64 /* r, s */
#define EDGEMILL_HEADER_BYTES 50 /* what precedes the target */

typedef enum {
  EDGEMILL_OK = 0,
  EDGEMILL_BAD_LENGTH = 1,    /* the role file, the model, or an argument has another length */
  EDGEMILL_BAD_FORMAT = 2,    /* not a role file, or of a later format */
  EDGEMILL_BAD_SIGNATURE = 3, /* no key of the device signed it */
  EDGEMILL_OTHER_TARGET = 4,  /* for another device class, name, or channel */
  EDGEMILL_OLD_VERSION = 5,   /* older than what is installed, or as old with another model */
  EDGEMILL_EXPIRED = 6,
  EDGEMILL_TOO_LARGE = 7,     /* the model doesn't fit into the device */
  EDGEMILL_OTHER_MODEL = 8,   /* the model has another digest */
  EDGEMILL_FAILED = 9         /* mbedTLS failed, for example because there is no memory */
} edgemill_status;

/* What a device knows. Keep `installed_version` and `installed_sha256` in memory that only the updater writes. */
typedef struct {
  const uint8_t (*keys)[EDGEMILL_KEY_BYTES]; /* public keys; a signature of any one of them counts */
  size_t key_count;
  const char *target;            /* DEVICE_CLASS/NAME/CHANNEL */
  uint32_t installed_version;    /* 0 at the factory */
  uint8_t installed_sha256[EDGEMILL_DIGEST_BYTES];
  uint32_t capacity;             /* bytes that a model may have */
  uint32_t now;                  /* seconds since 1970; 0 if the device has no clock, which skips the expiry */
} edgemill_device;

/* What a role file says. */
typedef struct {
  uint32_t version;
  uint32_t expires; /* seconds since 1970; 0 for never */
  uint32_t model_bytes;
  uint8_t model_sha256[EDGEMILL_DIGEST_BYTES];
} edgemill_role;

/* Checks a role file. `role` is valid only if the result is EDGEMILL_OK. */
edgemill_status edgemill_check_role(const edgemill_device *device, const uint8_t *file, size_t file_bytes,
                                    edgemill_role *role);

/* Checks a model as it arrives, before it is complete in memory:
 * begin, add for each part, and end. Call `end` after every successful `begin`. Run the model only if it returns
 * EDGEMILL_OK, and then store the role's version and digest. */
typedef struct {
  mbedtls_md_context_t context;
  uint32_t expected, received;
  uint8_t sha256[EDGEMILL_DIGEST_BYTES];
  edgemill_status status;
} edgemill_model_check;

edgemill_status edgemill_model_begin(edgemill_model_check *check, const edgemill_role *role);
edgemill_status edgemill_model_add(edgemill_model_check *check, const uint8_t *part, size_t part_bytes);
edgemill_status edgemill_model_end(edgemill_model_check *check);

#ifdef __cplusplus
}
#endif

#endif
