#include "broker/core/sasl.h"

#include "protocol/table.h"

static enum sasl_result
parse_plain(struct slice response, struct sasl_credentials *credentials_r)
{
    if (response.n < 2 || response.p[0] != 0)
        return SASL_MALFORMED;
    const uint8_t *user = response.p + 1, *end = response.p + response.n;
    const uint8_t *nul = memchr(user, 0, (size_t)(end - user));
    if (nul == NULL || memchr(nul + 1, 0, (size_t)(end - nul - 1)) != NULL)
        return SASL_MALFORMED;
    credentials_r->user = slice_of(user, (size_t)(nul - user));
    credentials_r->password = slice_of(nul + 1, (size_t)(end - nul - 1));
    return SASL_OK;
}

static bool
is_text(const struct amqp_value *v)
{
    return v->tag == AMQP_TAG_LONGSTR || v->tag == AMQP_TAG_BINARY;
}

static enum sasl_result
parse_amqplain(struct slice response, struct sasl_credentials *credentials_r)
{
    struct amqp_value login, password;

    if (!amqp_table_check(response) || !amqp_table_get(response, "LOGIN", &login) ||
        !amqp_table_get(response, "PASSWORD", &password))
        return SASL_MALFORMED;
    if (!is_text(&login) || !is_text(&password))
        return SASL_REFUSED;
    credentials_r->user = login.s;
    credentials_r->password = password.s;
    return SASL_OK;
}

enum sasl_result
sasl_parse(struct slice mechanism, struct slice response, struct sasl_credentials *credentials_r)
{
    if (slice_is(mechanism, "PLAIN"))
        return parse_plain(response, credentials_r);
    if (slice_is(mechanism, "AMQPLAIN"))
        return parse_amqplain(response, credentials_r);
    return SASL_NO_MECHANISM;
}
