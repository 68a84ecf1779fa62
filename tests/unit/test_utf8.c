#include "protocol/utf8.h"

#include "tests/unit/check_util.h"

static const struct {
    const char *what;
    struct slice text;
    bool valid;
} texts[] = {
#define T(what, literal, valid)                                                                    \
    {                                                                                              \
        what, {(const uint8_t *)literal, sizeof literal - 1}, valid                                \
    }
    T("empty", "", true),
    T("ASCII", "hello \x7f", true),
    T("zero byte", "a\0b", true),
    T("first of two bytes", "\xc2\x80", true),
    T("last of two bytes", "\xdf\xbf", true),
    T("first of three bytes", "\xe0\xa0\x80", true),
    T("last before the surrogates", "\xed\x9f\xbf", true),
    T("first after the surrogates", "\xee\x80\x80", true),
    T("U+FFFE, U+FFFF", "\xef\xbf\xbe\xef\xbf\xbf", true),
    T("first of four bytes", "\xf0\x90\x80\x80", true),
    T("U+10FFFF", "\xf4\x8f\xbf\xbf", true),
    T("all lengths", "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xb0z", true),

    T("lone continuation", "\x80", false),
    T("lone last continuation", "\xbf", false),
    T("continuation behind ASCII", "a\x80", false),
    T("one continuation too many", "\xc3\xa9\xa9", false),
    T("overlong slash, two bytes", "\xc0\xaf", false),
    T("overlong U+007F", "\xc1\xbf", false),
    T("overlong slash, three bytes", "\xe0\x80\xaf", false),
    T("overlong U+07FF", "\xe0\x9f\xbf", false),
    T("overlong slash, four bytes", "\xf0\x80\x80\xaf", false),
    T("overlong U+FFFF", "\xf0\x8f\xbf\xbf", false),
    T("overlong zero", "\xc0\x80", false),
    T("first high surrogate", "\xed\xa0\x80", false),
    T("last low surrogate", "\xed\xbf\xbf", false),
    T("surrogate pair", "\xed\xa0\xbd\xed\xb0\xb0", false),
    T("U+110000", "\xf4\x90\x80\x80", false),
    T("U+140000", "\xf5\x80\x80\x80", false),
    T("five bytes", "\xf8\x88\x80\x80\x80", false),
    T("six bytes", "\xfc\x84\x80\x80\x80\x80", false),
    T("FE", "\xfe", false),
    T("FF", "\xff", false),
    T("two bytes cut", "\xc3", false),
    T("three bytes cut after two", "\xe2\x82", false),
    T("three bytes cut after one", "\xe2", false),
    T("four bytes cut after three", "\xf0\x9f\x90", false),
    T("cut by ASCII", "\xe2\x82z", false),
    T("cut by another start", "\xe2\x82\xc3\xa9", false),
    T("Latin-1", "caf\xe9", false),
    T("bad at the end", "abcdefgh\xff", false),
#undef T
};

START_TEST(test_text)
{
    /* Without a byte behind it: what is cut short must not be looked for there. */
    uint8_t *bytes = exact_bytes(texts[_i].text);

    ck_assert_msg(utf8_valid(slice_of(bytes, texts[_i].text.n)) == texts[_i].valid, "%s",
                  texts[_i].what);
    free(bytes);
}
END_TEST

static size_t
encode(uint32_t c, uint8_t *p)
{
    if (c < 0x80) {
        p[0] = (uint8_t)c;
        return 1;
    }
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len - 1; i > 0; i--, c >>= 6)
        p[i] = (uint8_t)(0x80 | (c & 0x3f));
    p[0] = (uint8_t)(first[len] | c);
    return len;
}

START_TEST(test_every_code_point)
{
    uint8_t p[4];

    for (uint32_t c = 0; c < 0x140000; c++) {
        bool valid = c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff);
        size_t n = encode(c, p);
        if (utf8_valid(slice_of(p, n)) != valid)
            ck_abort_msg("U+%04X", c);
        for (size_t cut = 1; cut < n; cut++) {
            if (utf8_valid(slice_of(p, cut)))
                ck_abort_msg("U+%04X cut to %zu", c, cut);
        }
    }
}
END_TEST

/*
 * Of all pairs of bytes, those that are well-formed: two of ASCII, or one of the characters of two
 * bytes.
 */
START_TEST(test_every_pair)
{
    for (unsigned a = 0; a < 256; a++) {
        for (unsigned b = 0; b < 256; b++) {
            uint8_t p[2] = {(uint8_t)a, (uint8_t)b};
            bool valid =
                (a < 0x80 && b < 0x80) || (a >= 0xc2 && a <= 0xdf && b >= 0x80 && b <= 0xbf);
            if (utf8_valid(slice_of(p, 2)) != valid)
                ck_abort_msg("%02x %02x", a, b);
        }
    }
}
END_TEST

START_TEST(test_cut)
{
    struct slice s = slice_str("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xb0z");
    static const size_t wanted[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11, 11};

    ck_assert_uint_eq(s.n, 11);
    for (size_t max = 0; max < sizeof wanted / sizeof *wanted; max++)
        ck_assert_uint_eq(utf8_cut(s, max), wanted[max]);
}
END_TEST

START_TEST(test_cut_nothing)
{
    ck_assert_uint_eq(utf8_cut(slice_of(NULL, 0), 0), 0);
    ck_assert_uint_eq(utf8_cut(slice_of(NULL, 0), 10), 0);
}
END_TEST

/* No start of a character anywhere: nothing is left, and nothing before the text is looked at. */
START_TEST(test_cut_malformed)
{
    uint8_t *bytes = exact_bytes(BYTES("\x80\x80\x80\x80"));

    ck_assert_uint_eq(utf8_cut(slice_of(bytes, 4), 3), 0);
    free(bytes);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("utf8");
    TCase *tc = tcase_create("utf8");

    tcase_add_loop_test(tc, test_text, 0, sizeof texts / sizeof *texts);
    tcase_add_test(tc, test_every_code_point);
    tcase_add_test(tc, test_every_pair);
    tcase_add_test(tc, test_cut);
    tcase_add_test(tc, test_cut_nothing);
    tcase_add_test(tc, test_cut_malformed);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
