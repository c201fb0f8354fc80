"""The library under the notebooks: a room a concern, a floor above all that it imports.

    cli                                     the command line
    preflight                               what must hold before anything is written
    report, panels                          the HTML page; the widgets of the notebooks
    selection, attribution                  which settings; what the network looks at
    training, feature_maps                  from settings to a trained network; hooks, statistics, spectra
    evaluation                              scores, intervals, rankings
    data, models                            images, their table and split; networks by name
    settings                                every notebook parameter, in one table
    files, names, text, device              the ground
    shown, render                           what a section shows, and its HTML; on the ground, too

Nothing imports upwards; `make test` holds that.
"""
