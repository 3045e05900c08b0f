export default function Page() {
  return <main>A page of the app</main>;
}
