#include <stdlib.h>

#include "broker/main/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any bytes are a configuration file; either they are in order or there is an error to tell. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config;
    struct config_report report;

    bool ok = config_load_text(&config, "fuzz", slice_of(data, size), &report);
    if (ok != (report.n_errors == 0) || (!ok && report.n_messages == 0))
        abort();
    if (ok && (config.default_user[0] == '\0' || config.default_pass[0] == '\0' ||
               config.frame_max < 4096 || config.n_listeners > CONFIG_LISTENERS_MAX))
        abort();
    for (size_t i = 0; i < report.n_messages; i++) {
        for (const char *c = report.messages[i].text; *c != '\0'; c++) {
            if ((unsigned char)*c < 0x20 && *c != '\t')
                abort();
        }
    }
    config_free(&config);
    config_report_free(&report);
    return 0;
}
