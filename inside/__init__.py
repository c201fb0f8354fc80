"""The library behind the notebooks: one folder per topic, each in a layer above everything it imports.

    cli                                     the command line
    many_runs                               several runs, or one that is finished: compare, check, predict, sweep
    preflight, disk                         checks before anything is written; the room that a run needs
    report, panels                          the HTML page; the widgets of the notebooks
    selection, attribution                  which settings; what the network looks at
    training, feature_maps, curation        from settings to a trained network; hooks, statistics, spectra; near duplicates
    evaluation                              scores, intervals, rankings
    data, models                            images, their table and split; networks by name
    settings                                every notebook parameter, in one table
    legal                                   the valid values of parameters
    locks, release                          who works on a run folder; which version of the project this is
    processes                               several processes that compute as one
    files, names, text, plain_yaml,         the bottom layer
    fonts, device, pictures
    shown, render                           what a section shows, and its HTML; also the bottom layer

Nothing imports upwards; `make test` checks it.
"""
