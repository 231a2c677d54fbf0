/* OHIF's settings, and what wetread adds to OHIF by its own ways of being extended. */
(() => {
  // The server writes the user's name here.
  const reader = 'READER';
  const tissue = { CodeValue: '85756007', CodingSchemeDesignator: 'SCT', CodeMeaning: 'Tissue' };
  const segmentation = { CodeValue: '113076', CodingSchemeDesignator: 'DCM', CodeMeaning: 'Segmentation' };
  const source = {
    CodeValue: '121322',
    CodingSchemeDesignator: 'DCM',
    CodeMeaning: 'Source image for image processing operation',
  };
  const kept = [
    'SegmentedPropertyCategoryCodeSequence',
    'SegmentedPropertyTypeCodeSequence',
    'SegmentedPropertyTypeModifierCodeSequence',
    'AnatomicRegionSequence',
    'RecommendedDisplayCIELabValue',
    'TrackingID',
    'TrackingUID',
    'SegmentDescription',
  ];
  let leave = () => {};

  /** Items of a sequence, of which OHIF writes a single one without a list. */
  const items = sequence => (sequence ? [sequence].flat() : []);

  const name = segment => String(segment.SegmentLabel).trim().toLowerCase();

  /** What a reader drew comes after what the gateway did, whatever their clocks say. */
  const rank = ({ instance }) =>
    `${instance.Manufacturer === 'wetread' ? 0 : 1} ${instance.ContentDate} ${instance.ContentTime}`;

  /** The Segmentations of the study, the oldest first. */
  const segmentations = displaySetService =>
    displaySetService
      .getActiveDisplaySets()
      .filter(({ Modality, instance }) => Modality === 'SEG' && instance)
      .sort((a, b) => (rank(a) < rank(b) ? -1 : 1));

  /** Show the image of the Segmentation's middle frame; the first of a series seldom has a mask. */
  function showMiddle(viewport, { PerFrameFunctionalGroupsSequence: sequence }) {
    const frames = items(sequence);
    const [source] = items(frames[frames.length >> 1]?.DerivationImageSequence);
    const [image] = items(source?.SourceImageSequence);
    const { ReferencedSOPInstanceUID: uid, ReferencedFrameNumber: frame = 1 } = image ?? {};
    const index = viewport.getImageIds().findIndex(each => each.endsWith(`/${uid}/frames/${frame}`));
    if (index >= 0) viewport.setImageIdIndex?.(index);
  }

  /** Draw the newest Segmentation of the study on its images, once all of them are known. */
  async function showNewest({ servicesManager, extensionManager, commandsManager }) {
    const {
      cornerstoneViewportService,
      displaySetService,
      hangingProtocolService,
      viewportGridService,
    } = servicesManager.services;
    const study = new URLSearchParams(window.location.search).get('StudyInstanceUIDs');
    const [archive] = extensionManager.getActiveDataSource();
    const series = await archive.query.series.search(study);
    const expected = series.filter(({ modality }) => modality === 'SEG').length;
    let drawn = false;

    const show = () => {
      const found = segmentations(displaySetService);
      const newest = found.at(-1);
      const images = newest?.referencedDisplaySetInstanceUID;
      if (!drawn || !expected || found.length < expected || !images) return;
      const viewportId = viewportGridService.getActiveViewportId();
      if (!viewportGridService.getDisplaySetsUIDsForViewport(viewportId).includes(images)) {
        drawn = false;
        viewportGridService.setDisplaySetsForViewports(
          hangingProtocolService.getViewportsRequireUpdate(viewportId, images)
        );
        return;
      }
      leave();
      const { displaySetInstanceUID } = newest;
      showMiddle(cornerstoneViewportService.getCornerstoneViewport(viewportId), newest.instance);
      commandsManager.run('addDisplaySetAsLayer', { viewportId, displaySetInstanceUID });
    };
    // Sooner, OHIF would still wait for an image that is taken away.
    const draw = ({ detail }) => {
      drawn ||= detail?.viewportId === viewportGridService.getActiveViewportId();
      show();
    };
    const added = displaySetService.EVENTS.DISPLAY_SETS_ADDED;
    const subscription = displaySetService.subscribe(added, show);
    document.addEventListener('CORNERSTONE_IMAGE_RENDERED', draw, true);
    leave = () => {
      subscription.unsubscribe();
      document.removeEventListener('CORNERSTONE_IMAGE_RENDERED', draw, true);
    };
  }

  /** OHIF calls every segment a tissue and says of no one who drew it; put back what was known. */
  function complete(dataset, displaySetService) {
    const before = segmentations(displaySetService).map(({ instance }) => instance);
    const known = new Map(
      before.flatMap(({ SegmentSequence }) => items(SegmentSequence)).map(each => [name(each), each])
    );
    for (const segment of items(dataset.SegmentSequence)) {
      const original = known.get(name(segment));
      segment.SegmentedPropertyCategoryCodeSequence = tissue;
      segment.SegmentedPropertyTypeCodeSequence = tissue;
      for (const key of kept) if (original?.[key]) segment[key] = original[key];
      if (original && original.SegmentAlgorithmType !== 'MANUAL') {
        segment.SegmentAlgorithmType = 'SEMIAUTOMATIC';
        segment.SegmentAlgorithmName = original.SegmentAlgorithmName;
      }
    }
    dataset.Manufacturer = 'OHIF';
    dataset.ManufacturerModelName = 'OHIF Viewer';
    dataset.SoftwareVersions = 'VERSION';
    dataset.ContentCreatorName = reader;
    const described = before.at(-1)?.SeriesDescription?.replace(/, corrected$/, '');
    if (described && dataset.SeriesDescription === 'Research Derived series') {
      dataset.SeriesDescription = `${described.slice(0, 53)}, corrected`;
    }
    // The version of the header of the file.
    dataset._meta.FileMetaInformationVersion = { vr: 'OB', Value: [new Uint8Array([0, 1]).buffer] };
    completeReferences(dataset, displaySetService);
    packFrames(dataset);
  }

  function completeReferences(dataset, displaySetService) {
    const instances = displaySetService.getActiveDisplaySets().flatMap(each => each.instances ?? []);
    const many = new Set(
      instances.filter(each => each.NumberOfFrames > 1).map(each => each.SOPInstanceUID)
    );
    const images = items(dataset.ReferencedSeriesSequence)
      .flatMap(({ ReferencedInstanceSequence }) => items(ReferencedInstanceSequence))
      .map(each => [each.ReferencedSOPInstanceUID, each.ReferencedSOPClassUID]);
    const classes = new Map(images);
    for (const frame of items(dataset.PerFrameFunctionalGroupsSequence)) {
      for (const derivation of items(frame.DerivationImageSequence)) {
        derivation.DerivationCodeSequence = segmentation;
        for (const image of items(derivation.SourceImageSequence)) {
          image.ReferencedSOPClassUID = classes.get(image.ReferencedSOPInstanceUID);
          image.PurposeOfReferenceCodeSequence = source;
          if (!many.has(image.ReferencedSOPInstanceUID)) delete image.ReferencedFrameNumber;
        }
      }
    }
  }

  /** Bit behind bit (PS3.5 8.1.1): OHIF 3.13.2 begins each frame on a byte of its own. */
  function packFrames(dataset) {
    const { Rows, Columns, NumberOfFrames, BitsAllocated, PixelData: apart } = dataset;
    const [size, count] = [Rows * Columns, Number(NumberOfFrames)];
    if (Number(BitsAllocated) !== 1 || size % 8 === 0) return;
    const stride = Math.ceil(size / 8);
    const packed = new Uint8Array(2 * Math.ceil((size * count) / 16));
    if (apart.length !== stride * count) throw new Error('The frames do not lie as expected');
    for (let frame = 0; frame < count; frame++) {
      for (let pixel = 0; pixel < size; pixel++) {
        const bit = (apart[frame * stride + (pixel >> 3)] >> (pixel & 7)) & 1;
        const place = frame * size + pixel;
        packed[place >> 3] |= bit << (place & 7);
      }
    }
    dataset.PixelData = packed;
  }

  /**
   * Store a Segmentation, then read it back from the archive.
   *
   * OHIF 3.13.2 would show its own copy of it instead, with the first frame's mask on every slice.
   */
  async function store(dataset, archive, displaySetService) {
    complete(dataset, displaySetService);
    const { StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID } = dataset;
    await archive.store.dicom(dataset);
    // By the name under which it keeps what it knows of a study, else it asks for nothing.
    const forget = () =>
      archive.deleteStudyMetadataPromise(`${archive.getConfig().name}:${StudyInstanceUID}`);
    forget();
    const isThere = () =>
      displaySetService.getActiveDisplaySets().some(each => each.SOPInstanceUID === SOPInstanceUID);
    await archive.retrieve.series.metadata({
      StudyInstanceUID,
      filters: { seriesInstanceUID: SeriesInstanceUID },
    });
    forget();
    for (let waited = 0; !isThere(); waited += 100) {
      if (waited >= 10000) throw new Error('The archive does not give back what it took');
      await new Promise(resolve => setTimeout(resolve, 100));
    }
  }

  function storeByArchive({ servicesManager, extensionManager, commandsManager }) {
    const { commandFn, options } = commandsManager.getCommand('createStoreFunction', 'DEFAULT');
    const { displaySetService } = servicesManager.services;
    const createStoreFunction = where => {
      const original = commandFn(where);
      return (dicom, ...rest) => {
        if (dicom.Modality !== 'SEG') return original(dicom, ...rest);
        const [archive] = extensionManager.getDataSources(where.dataSource) ?? [];
        if (!archive) throw new Error('Save it in the archive, and fetch the file from there');
        return store(dicom, archive, displaySetService);
      };
    };
    commandsManager.registerCommand('DEFAULT', 'createStoreFunction', {
      commandFn: createStoreFunction,
      options,
    });
  }

  let extended = false;
  const extension = {
    id: 'wetread',
    onModeEnter: managers => {
      if (!extended) storeByArchive(managers);
      extended = true;
      showNewest(managers);
    },
    onModeExit: () => leave(),
  };

  window.config = {
    name: 'wetread',
    routerBasename: null,
    extensions: [extension],
    modes: [],
    customizationService: {},
    showStudyList: true,
    showWarningMessageForCrossOrigin: true,
    showCPUFallbackMessage: true,
    showLoadingIndicator: true,
    strictZSpacingForVolumeViewport: true,
    // Segmentations open at once, without a question.
    disableConfirmationPrompts: true,
    defaultDataSourceName: 'archive',
    dataSources: [
      {
        namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
        sourceName: 'archive',
        configuration: {
          friendlyName: 'Archive',
          name: 'archive',
          qidoRoot: '/dicom-web',
          wadoRoot: '/dicom-web',
          wadoUriRoot: '/dicom-web',
          qidoSupportsIncludeField: true,
          supportsFuzzyMatching: false,
          supportsWildcard: true,
          imageRendering: 'wadors',
          thumbnailRendering: 'wadors',
          enableStudyLazyLoad: true,
          dicomUploadEnabled: false,
          omitQuotationForMultipartRequest: true,
          bulkDataURI: { enabled: true },
          // OHIF 3.13.2 cannot cut frames that do not begin on a byte; the server can.
          loadMultiframeAsPart10: false,
          // Few archives take Label Map Segmentations yet.
          segmentation: {
            store: { defaultMode: 'bitmap', transferSyntaxUID: '1.2.840.10008.1.2.1' },
          },
        },
      },
    ],
  };
})();
