export { ArcInstrumentation, type ArcInstrumentationConfig } from './instrumentation.js';
