#ifndef CONEY_BROKER_AUTH_PASSWORD_H
#define CONEY_BROKER_AUTH_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/slice.h"

/*
 * Passwords as RabbitMQ keeps them: a random salt, and the hash of the salt and the password. Not
 * for an event loop, since hashing takes its time; for any thread, since there is no state.
 */

enum {
    PASSWORD_SALT_SIZE = 4,
    PASSWORD_DIGEST_MAX = 64, /* room for SHA-512 */
    PASSWORD_TEXT_MAX = 93,   /* base64 of both, terminated */
};

enum password_algorithm { PASSWORD_SHA256 };

struct password_hash {
    enum password_algorithm algorithm;
    uint8_t salt[PASSWORD_SALT_SIZE];
    uint8_t digest[PASSWORD_DIGEST_MAX]; /* as many bytes as the algorithm makes */
};

/* Hashes with a new salt. False when OpenSSL has no randomness or no memory. */
MUST_USE bool password_hash(struct slice password, struct password_hash *hash_r);

/*
 * True when the password is the hashed one. The time taken does not depend on how much of it is
 * right. A blank password is nobody's, whatever was hashed.
 */
MUST_USE bool password_verify(const struct password_hash *hash, struct slice password);

/* The base64 form of RabbitMQ's definitions ("password_hash"). False when the text is no hash of
 * this algorithm. */
MUST_USE bool password_hash_parse(struct slice text, enum password_algorithm algorithm,
                                  struct password_hash *hash_r);
void password_hash_print(const struct password_hash *hash, char text[static PASSWORD_TEXT_MAX]);

#endif
