#include "broker/auth/password.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

static const EVP_MD *
algorithm_md(enum password_algorithm algorithm)
{
    switch (algorithm) {
    case PASSWORD_SHA256:
        return EVP_sha256();
    }
    return NULL;
}

static size_t
digest_size(const struct password_hash *hash)
{
    return (size_t)EVP_MD_get_size(algorithm_md(hash->algorithm));
}

static bool
digest(const struct password_hash *hash, struct slice password,
       uint8_t digest_r[static EVP_MAX_MD_SIZE])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, algorithm_md(hash->algorithm), NULL) == 1 &&
              EVP_DigestUpdate(ctx, hash->salt, sizeof hash->salt) == 1 &&
              EVP_DigestUpdate(ctx, password.p, password.n) == 1 &&
              EVP_DigestFinal_ex(ctx, digest_r, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

bool
password_hash(struct slice password, struct password_hash *hash_r)
{
    memset(hash_r, 0, sizeof *hash_r);
    hash_r->algorithm = PASSWORD_SHA256;
    return RAND_bytes(hash_r->salt, sizeof hash_r->salt) == 1 &&
           digest(hash_r, password, hash_r->digest);
}

bool
password_verify(const struct password_hash *hash, struct slice password)
{
    uint8_t computed[EVP_MAX_MD_SIZE];

    bool ok = digest(hash, password, computed) &&
              CRYPTO_memcmp(computed, hash->digest, digest_size(hash)) == 0;
    return ok && password.n != 0;
}

bool
password_hash_parse(struct slice text, enum password_algorithm algorithm,
                    struct password_hash *hash_r)
{
    uint8_t raw[PASSWORD_TEXT_MAX];
    char again[PASSWORD_TEXT_MAX];
    struct password_hash hash = {.algorithm = algorithm};
    size_t n = digest_size(&hash);

    if (text.n != 4 * ((sizeof hash.salt + n + 2) / 3) ||
        EVP_DecodeBlock(raw, text.p, (int)text.n) < 0)
        return false;
    memcpy(hash.salt, raw, sizeof hash.salt);
    memcpy(hash.digest, raw + sizeof hash.salt, n);

    /* OpenSSL's decoder forgives blanks and more; what does not come out the same again was no
     * base64 of ours. */
    password_hash_print(&hash, again);
    if (!slice_is(text, again))
        return false;
    *hash_r = hash;
    return true;
}

void
password_hash_print(const struct password_hash *hash, char text[static PASSWORD_TEXT_MAX])
{
    uint8_t raw[PASSWORD_SALT_SIZE + PASSWORD_DIGEST_MAX];
    size_t n = digest_size(hash);

    memcpy(raw, hash->salt, sizeof hash->salt);
    memcpy(raw + sizeof hash->salt, hash->digest, n);
    EVP_EncodeBlock((unsigned char *)text, raw, (int)(sizeof hash->salt + n));
}
