// What an application writes on @arc/thread-otel, which test/types.test.ts compiles as its users may: it is never run.
import { ArcInstrumentation, type ArcInstrumentationConfig } from '@arc/thread-otel';
import { type Instrumentation, registerInstrumentations } from '@opentelemetry/instrumentation';
import { NodeTracerProvider } from '@opentelemetry/sdk-trace-node';

declare const settings: { strangers?: boolean };

/** What an application may not have is passed on as it is. (Not as `enabled`, which has OpenTelemetry's type.) */
const config: ArcInstrumentationConfig = { enabled: true, clientContext: settings.strangers };
const tracerProvider = new NodeTracerProvider();
const arc: Instrumentation = new ArcInstrumentation();
registerInstrumentations({ tracerProvider, instrumentations: [arc, new ArcInstrumentation(config)] });

const own = new ArcInstrumentation({ enabled: false });
own.setTracerProvider(tracerProvider);
own.setConfig({ ...own.getConfig(), clientContext: false });
own.enable();

// @ts-expect-error: there is no such option
new ArcInstrumentation({ clientContexts: false });
