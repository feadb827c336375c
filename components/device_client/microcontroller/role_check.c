#include "role_check.h"

#include <string.h>

#include "mbedtls/ecdsa.h"
#include "mbedtls/ecp.h"

static const uint8_t MAGIC[4] = {'E', 'M', 'R', '1'};

static uint32_t number(const uint8_t *bytes) {
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static edgemill_status verify(const uint8_t key[EDGEMILL_KEY_BYTES], const uint8_t digest[EDGEMILL_DIGEST_BYTES],
                              const uint8_t signature[EDGEMILL_SIGNATURE_BYTES]) {
  mbedtls_ecp_group group;
  mbedtls_ecp_point point;
  mbedtls_mpi r, s;
  edgemill_status status = EDGEMILL_BAD_SIGNATURE;
  mbedtls_ecp_group_init(&group);
  mbedtls_ecp_point_init(&point);
  mbedtls_mpi_init(&r);
  mbedtls_mpi_init(&s);
  if (mbedtls_ecp_group_load(&group, MBEDTLS_ECP_DP_SECP256R1) != 0 ||
      mbedtls_mpi_read_binary(&r, signature, EDGEMILL_SIGNATURE_BYTES / 2) != 0 ||
      mbedtls_mpi_read_binary(&s, signature + EDGEMILL_SIGNATURE_BYTES / 2, EDGEMILL_SIGNATURE_BYTES / 2) != 0) {
    status = EDGEMILL_FAILED;
  } else if (mbedtls_ecp_point_read_binary(&group, &point, key, EDGEMILL_KEY_BYTES) == 0 &&
             mbedtls_ecp_check_pubkey(&group, &point) == 0 &&
             mbedtls_ecdsa_verify(&group, digest, EDGEMILL_DIGEST_BYTES, &point, &r, &s) == 0) {
    status = EDGEMILL_OK;
  }
  mbedtls_mpi_free(&s);
  mbedtls_mpi_free(&r);
  mbedtls_ecp_point_free(&point);
  mbedtls_ecp_group_free(&group);
  return status;
}

static edgemill_status verify_any(const edgemill_device *device, const uint8_t *file, size_t signed_bytes) {
  uint8_t digest[EDGEMILL_DIGEST_BYTES];
  edgemill_status status = EDGEMILL_BAD_SIGNATURE;
  if (mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), file, signed_bytes, digest) != 0) {
    return EDGEMILL_FAILED;
  }
  for (size_t index = 0; index < device->key_count && status == EDGEMILL_BAD_SIGNATURE; index++) {
    status = verify(device->keys[index], digest, file + signed_bytes);
  }
  return status;
}

edgemill_status edgemill_check_role(const edgemill_device *device, const uint8_t *file, size_t file_bytes,
                                    edgemill_role *role) {
  size_t target_bytes, own_bytes;
  edgemill_status status;
  memset(role, 0, sizeof *role);
  if (file_bytes < EDGEMILL_HEADER_BYTES + EDGEMILL_SIGNATURE_BYTES) {
    return EDGEMILL_BAD_LENGTH;
  }
  if (memcmp(file, MAGIC, sizeof MAGIC) != 0) {
    return EDGEMILL_BAD_FORMAT;
  }
  target_bytes = (size_t)file[48] | (size_t)file[49] << 8;
  if (file_bytes != EDGEMILL_HEADER_BYTES + target_bytes + EDGEMILL_SIGNATURE_BYTES) {
    return EDGEMILL_BAD_LENGTH;
  }
  /* Nothing that follows looks at a value that the device's key didn't sign. */
  status = verify_any(device, file, EDGEMILL_HEADER_BYTES + target_bytes);
  if (status != EDGEMILL_OK) {
    return status;
  }
  own_bytes = strlen(device->target);
  if (target_bytes != own_bytes || memcmp(file + EDGEMILL_HEADER_BYTES, device->target, own_bytes) != 0) {
    return EDGEMILL_OTHER_TARGET;
  }
  const uint32_t version = number(file + 4), expires = number(file + 8), model_bytes = number(file + 12);
  const uint8_t *sha256 = file + 16;
  if (version < device->installed_version ||
      (version == device->installed_version &&
       memcmp(sha256, device->installed_sha256, EDGEMILL_DIGEST_BYTES) != 0)) {
    return EDGEMILL_OLD_VERSION;
  }
  if (expires != 0 && device->now != 0 && device->now >= expires) {
    return EDGEMILL_EXPIRED;
  }
  if (model_bytes == 0 || model_bytes > device->capacity) {
    return EDGEMILL_TOO_LARGE;
  }
  role->version = version;
  role->expires = expires;
  role->model_bytes = model_bytes;
  memcpy(role->model_sha256, sha256, EDGEMILL_DIGEST_BYTES);
  return EDGEMILL_OK;
}

edgemill_status edgemill_model_begin(edgemill_model_check *check, const edgemill_role *role) {
  memset(check, 0, sizeof *check);
  mbedtls_md_init(&check->context);
  check->expected = role->model_bytes;
  memcpy(check->sha256, role->model_sha256, EDGEMILL_DIGEST_BYTES);
  if (mbedtls_md_setup(&check->context, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 0) != 0 ||
      mbedtls_md_starts(&check->context) != 0) {
    mbedtls_md_free(&check->context);
    check->status = EDGEMILL_FAILED;
  }
  return check->status;
}

edgemill_status edgemill_model_add(edgemill_model_check *check, const uint8_t *part, size_t part_bytes) {
  if (check->status != EDGEMILL_OK) {
    return check->status;
  }
  if (part_bytes > check->expected - check->received) {
    check->status = EDGEMILL_BAD_LENGTH;
  } else if (mbedtls_md_update(&check->context, part, part_bytes) != 0) {
    check->status = EDGEMILL_FAILED;
  } else {
    check->received += (uint32_t)part_bytes;
  }
  return check->status;
}

edgemill_status edgemill_model_end(edgemill_model_check *check) {
  uint8_t digest[EDGEMILL_DIGEST_BYTES];
  if (check->status == EDGEMILL_OK && check->received != check->expected) {
    check->status = EDGEMILL_BAD_LENGTH;
  }
  if (check->status == EDGEMILL_OK) {
    if (mbedtls_md_finish(&check->context, digest) != 0) {
      check->status = EDGEMILL_FAILED;
    } else if (memcmp(digest, check->sha256, EDGEMILL_DIGEST_BYTES) != 0) {
      check->status = EDGEMILL_OTHER_MODEL;
    }
  }
  mbedtls_md_free(&check->context);
  return check->status;
}
